"""The structs of parquet.thrift that say where pages are, read and written by Thrift's library.

Each has the fields that are of use here, by their numbers in parquet.thrift; others are skipped.
"""

import threading
from typing import Any, ClassVar, Self

from thrift.protocol.TBase import TBase
from thrift.protocol.TCompactProtocol import TCompactProtocolAccelerated
from thrift.Thrift import TException, TType
from thrift.transport.TTransport import TMemoryBuffer

I32, I64, BINARY, STRUCT, LIST = TType.I32, TType.I64, TType.STRING, TType.STRUCT, TType.LIST
_FAILURES = (
    TException, TypeError, ValueError, ArithmeticError, RecursionError, LookupError, AssertionError,
)  # fmt: skip
"""What Thrift's library has for bytes that are none; the last two where it has no C extension."""
_Field = tuple[int, int, str, Any, None]


class NoStructError(Exception):
    """The bytes are not the struct they should be."""


class _Here(threading.local):
    """A protocol for each thread: to make one takes longer than to read a struct."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Make another: where Thrift has no C extension, one that failed stays half-way."""
        self.protocol = TCompactProtocolAccelerated(TMemoryBuffer(b""))


_here = _Here()


class Struct(TBase):  # type: ignore[misc]  # Thrift's library is untyped
    """A struct; a field that is not there is ``None``."""

    thrift_spec: ClassVar[tuple[_Field | None, ...]] = ()
    """As Thrift's compiler for Python lays it out: each field at its number."""

    def __init_subclass__(cls) -> None:
        for field in filter(None, cls.thrift_spec):
            setattr(cls, field[2], None)

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    @classmethod
    def parse(cls, data: bytes) -> tuple[Self, int]:
        """Read one from the start of some bytes.

        Returns:
            The struct, and where it ends.

        Raises:
            EOFError: The bytes end within it.
            NoStructError: They are something else.
        """
        transport, found, protocol = TMemoryBuffer(data), cls(), _here.protocol
        protocol.trans = transport
        # A list has at most as many elements as there are bytes: room is made for all of them.
        protocol.container_length_limit = len(data)
        try:
            found.read(protocol)
        except EOFError:
            _here.renew()
            raise
        except _FAILURES as error:
            _here.renew()
            raise NoStructError(str(error)) from error
        return found, transport.cstringio_buf.tell()

    def dump(self) -> bytes:
        """Write it; fields that are ``None`` are left out."""
        transport, protocol = TMemoryBuffer(), _here.protocol
        protocol.trans = transport
        self.write(protocol)
        data: bytes = transport.getvalue()
        return data


def _fields(*fields: tuple[int, int, str, Any]) -> tuple[_Field | None, ...]:
    by_number = {number: (number, kind, name, of, None) for number, kind, name, of in fields}
    return tuple(by_number.get(number) for number in range(max(by_number) + 1))


def _is(kind: type[Struct]) -> list[Any]:
    return [kind, kind.thrift_spec]


def _of(kind: int, inner: Any = None) -> tuple[int, Any, bool]:
    return (kind, inner, False)


class ColumnMetaData(Struct):
    """Of a column chunk."""

    thrift_spec = _fields(
        (1, I32, "type", None),
        (2, LIST, "encodings", _of(I32)),
        (3, LIST, "path_in_schema", _of(BINARY, "BINARY")),
        (4, I32, "codec", None),
        (5, I64, "num_values", None),
        (6, I64, "total_uncompressed_size", None),
        (7, I64, "total_compressed_size", None),
        (9, I64, "data_page_offset", None),
        (11, I64, "dictionary_page_offset", None),
    )


class ColumnCryptoMetaData(Struct):
    """There is one where a column is encrypted."""


class ColumnChunk(Struct):
    """One column in one row group."""

    thrift_spec = _fields(
        (2, I64, "file_offset", None),
        (3, STRUCT, "meta_data", _is(ColumnMetaData)),
        (8, STRUCT, "crypto_metadata", _is(ColumnCryptoMetaData)),
    )


class RowGroup(Struct):
    """Rows that lie together."""

    thrift_spec = _fields(
        (1, LIST, "columns", _of(STRUCT, _is(ColumnChunk))),
        (2, I64, "total_byte_size", None),
        (3, I64, "num_rows", None),
    )


class SchemaElement(Struct):
    """A column, or what columns are in."""

    thrift_spec = _fields(
        (1, I32, "type", None),
        (3, I32, "repetition_type", None),
        (4, BINARY, "name", "BINARY"),
        (5, I32, "num_children", None),
    )


class FileMetaData(Struct):
    """The footer."""

    thrift_spec = _fields(
        (1, I32, "version", None),
        (2, LIST, "schema", _of(STRUCT, _is(SchemaElement))),
        (3, I64, "num_rows", None),
        (4, LIST, "row_groups", _of(STRUCT, _is(RowGroup))),
    )


class DataPageHeader(Struct):
    """Of a page of values."""

    thrift_spec = _fields(
        (1, I32, "num_values", None),
        (2, I32, "encoding", None),
        (3, I32, "definition_level_encoding", None),
        (4, I32, "repetition_level_encoding", None),
    )


class DictionaryPageHeader(Struct):
    """Of a page that others look values up in."""

    thrift_spec = _fields((1, I32, "num_values", None), (2, I32, "encoding", None))


class DataPageHeaderV2(Struct):
    """Of a page of values in Parquet's second format."""

    thrift_spec = _fields((1, I32, "num_values", None), (4, I32, "encoding", None))


class PageHeader(Struct):
    """Of any page."""

    thrift_spec = _fields(
        (1, I32, "type", None),
        (2, I32, "uncompressed_page_size", None),
        (3, I32, "compressed_page_size", None),
        (5, STRUCT, "data_page_header", _is(DataPageHeader)),
        (7, STRUCT, "dictionary_page_header", _is(DictionaryPageHeader)),
        (8, STRUCT, "data_page_header_v2", _is(DataPageHeaderV2)),
    )
