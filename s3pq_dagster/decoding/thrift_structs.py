"""The structs of parquet.thrift that locate and describe pages, and that describe columns.

Thrift's library reads and writes them. Each struct has only the fields that are used here, by their
numbers in parquet.thrift; other fields are skipped.
"""

import threading
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from thrift.protocol.TBase import TBase
from thrift.protocol.TCompactProtocol import TCompactProtocol, TCompactProtocolAccelerated
from thrift.Thrift import TException, TType
from thrift.transport.TTransport import TMemoryBuffer

I32, I64, BINARY, STRUCT, LIST = TType.I32, TType.I64, TType.STRING, TType.STRUCT, TType.LIST
_FAILURES = (
    TException, TypeError, ValueError, ArithmeticError, RecursionError, LookupError, AssertionError,
)  # fmt: skip
"""What Thrift's library raises for invalid bytes; the last two only without its C extension."""
_Field = tuple[int, int, str, Any, None]


class NoStructError(Exception):
    """The bytes are not the expected struct."""


class _ThreadProtocol(threading.local):
    """A Thrift protocol for each thread: to make one takes longer than to read a struct."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Replace the protocol: without the C extension, a failed one keeps its state."""
        self.protocol = TCompactProtocolAccelerated(TMemoryBuffer(b""))


_thread = _ThreadProtocol()


class Struct(TBase):  # type: ignore[misc]  # Thrift's library is untyped
    """A Thrift struct; a missing field is ``None``."""

    thrift_spec: ClassVar[tuple[_Field | None, ...]] = ()
    """The fields by their numbers, in the layout of Thrift's compiler for Python."""

    def __init_subclass__(cls) -> None:
        for field in filter(None, cls.thrift_spec):
            setattr(cls, field[2], None)

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    @classmethod
    def parse(cls, data: bytes) -> tuple[Self, int]:
        """Read a struct from the start of some bytes.

        Returns:
            The struct, and the number of bytes it takes.

        Raises:
            EOFError: The bytes end within the struct.
            NoStructError: The bytes are something else.
        """
        return cls._read(TMemoryBuffer(data), len(data))

    @classmethod
    def parse_list(cls, data: bytes, number: int) -> Iterator[tuple[Self, int, int]]:
        """Read a list of structs, which is a field of the struct at the start of some bytes.

        Args:
            data: The bytes.
            number: The field's number. If the field is there twice, the first is read.

        Yields:
            Each struct, where it starts and where it ends.

        Raises:
            EOFError: The bytes end before the list does.
            NoStructError: There is no such field, or the bytes are something else.
        """
        transport = TMemoryBuffer(data)
        for _ in range(_start_of_list(transport, number, len(data))):
            start = transport.cstringio_buf.tell()
            found, end = cls._read(transport, len(data))
            yield found, start, end

    @classmethod
    def _read(cls, transport: TMemoryBuffer, most: int) -> tuple[Self, int]:
        found, protocol = cls(), _thread.protocol
        protocol.trans = transport
        # Thrift allocates the elements that a list announces; each of them takes at least a byte.
        protocol.container_length_limit = most
        try:
            found.read(protocol)
        except EOFError:
            _thread.renew()
            raise
        except _FAILURES as error:
            _thread.renew()
            raise NoStructError(str(error)) from error
        return found, transport.cstringio_buf.tell()

    def dump(self) -> bytes:
        """Write the struct; fields that are ``None`` are left out."""
        transport, protocol = TMemoryBuffer(), _thread.protocol
        protocol.trans = transport
        self.write(protocol)
        data: bytes = transport.getvalue()
        return data


def _start_of_list(transport: TMemoryBuffer, number: int, most: int) -> int:
    """Read a struct up to the elements of one of its lists, and return how many they are."""
    protocol = TCompactProtocol(transport, container_length_limit=most)
    try:
        protocol.readStructBegin()
        while True:
            _, kind, found = protocol.readFieldBegin()
            if kind == TType.STOP:
                raise NoStructError(f"there is no field {number}")
            if (kind, found) == (LIST, number):
                count: int = protocol.readListBegin()[1]
                return count
            protocol.skip(kind)
            protocol.readFieldEnd()
    except _FAILURES as error:
        raise NoStructError(str(error)) from error


def _fields(*fields: tuple[int, int, str, Any]) -> tuple[_Field | None, ...]:
    by_number = {number: (number, kind, name, of, None) for number, kind, name, of in fields}
    return tuple(by_number.get(number) for number in range(max(by_number) + 1))


def _struct(kind: type[Struct]) -> list[Any]:
    return [kind, kind.thrift_spec]


def _list_of(kind: int, inner: Any = None) -> tuple[int, Any, bool]:
    return (kind, inner, False)


class ColumnMetaData(Struct):
    """Metadata of a column chunk."""

    thrift_spec = _fields(
        (1, I32, "type", None),
        (2, LIST, "encodings", _list_of(I32)),
        (3, LIST, "path_in_schema", _list_of(BINARY, "BINARY")),
        (4, I32, "codec", None),
        (5, I64, "num_values", None),
        (6, I64, "total_uncompressed_size", None),
        (7, I64, "total_compressed_size", None),
        (9, I64, "data_page_offset", None),
        (11, I64, "dictionary_page_offset", None),
    )


class ColumnCryptoMetaData(Struct):
    """Present if a column is encrypted."""


class ColumnChunk(Struct):
    """One column in one row group."""

    thrift_spec = _fields(
        (2, I64, "file_offset", None),
        (3, STRUCT, "meta_data", _struct(ColumnMetaData)),
        (8, STRUCT, "crypto_metadata", _struct(ColumnCryptoMetaData)),
    )


class RowGroup(Struct):
    """A row group: consecutive rows, stored column by column."""

    thrift_spec = _fields(
        (1, LIST, "columns", _list_of(STRUCT, _struct(ColumnChunk))),
        (2, I64, "total_byte_size", None),
        (3, I64, "num_rows", None),
    )


class SchemaElement(Struct):
    """A column, or a group of columns; without the annotations of what its values mean."""

    thrift_spec = _fields(
        (1, I32, "type", None),
        (2, I32, "type_length", None),
        (3, I32, "repetition_type", None),
        (4, BINARY, "name", "BINARY"),
        (5, I32, "num_children", None),
        (9, I32, "field_id", None),
    )


class MapType(Struct):
    """Present if a group is a map."""


class DecimalType(Struct):
    """Present if values are decimals."""


class DateType(Struct):
    """Present if values are dates."""


class TimeType(Struct):
    """Present if values are times of a day."""


class TimestampType(Struct):
    """Present if values are moments."""


class LogicalType(Struct):
    """What values mean, of which there is only one."""

    thrift_spec = _fields(
        (2, STRUCT, "MAP", _struct(MapType)),
        (5, STRUCT, "DECIMAL", _struct(DecimalType)),
        (6, STRUCT, "DATE", _struct(DateType)),
        (7, STRUCT, "TIME", _struct(TimeType)),
        (8, STRUCT, "TIMESTAMP", _struct(TimestampType)),
    )


class AnnotatedElement(Struct):
    """A column, or a group of columns, with some of the annotations of what its values mean."""

    thrift_spec = _fields(
        *(field[:4] for field in SchemaElement.thrift_spec if field is not None),
        (6, I32, "converted_type", None),
        (8, I32, "precision", None),
        (10, STRUCT, "logicalType", _struct(LogicalType)),
    )


FOOTER_SCHEMA = 2
"""Number of the list of columns in :class:`FileMetaData`."""


class FileMetaData(Struct):
    """The footer."""

    thrift_spec = _fields(
        (1, I32, "version", None),
        (2, LIST, "schema", _list_of(STRUCT, _struct(SchemaElement))),
        (3, I64, "num_rows", None),
        (4, LIST, "row_groups", _list_of(STRUCT, _struct(RowGroup))),
    )


class DataPageHeader(Struct):
    """Details of a data page."""

    thrift_spec = _fields(
        (1, I32, "num_values", None),
        (2, I32, "encoding", None),
        (3, I32, "definition_level_encoding", None),
        (4, I32, "repetition_level_encoding", None),
    )


class DictionaryPageHeader(Struct):
    """Details of a dictionary page, which holds each distinct value of a column chunk once."""

    thrift_spec = _fields((1, I32, "num_values", None), (2, I32, "encoding", None))


class DataPageHeaderV2(Struct):
    """Details of a data page in version 2 of the format."""

    thrift_spec = _fields((1, I32, "num_values", None), (4, I32, "encoding", None))


class PageHeader(Struct):
    """The header before every page."""

    thrift_spec = _fields(
        (1, I32, "type", None),
        (2, I32, "uncompressed_page_size", None),
        (3, I32, "compressed_page_size", None),
        (5, STRUCT, "data_page_header", _struct(DataPageHeader)),
        (7, STRUCT, "dictionary_page_header", _struct(DictionaryPageHeader)),
        (8, STRUCT, "data_page_header_v2", _struct(DataPageHeaderV2)),
    )
