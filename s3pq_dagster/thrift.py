"""Thrift's compact protocol, as far as Parquet's footers and page headers need it."""

from collections.abc import Iterable
from typing import Any

BOOLEANS = (1, 2)
I32 = 5
STRUCT = 12
I64 = 6
_INTEGERS = (4, I32, I64)
BINARY = 8
LIST = 9
_LISTS = (LIST, 10)
_MAP = 11
_FIXED = {3: 1, 7: 8}
"""Bytes of a byte and of a double."""
_MOST_NESTED = 8
_MOST_BITS = 63

Struct = dict[tuple[int, int], Any]
"""By field number and type, since a reader skips a field of another type than it expects."""


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[Struct, int]:
    """Read one struct; binaries, maps and lists of anything but structs are skipped.

    Follows the Thrift compact protocol's specification. An i32 keeps its lower 32 bits, as the C++
    library that pyarrow is built on has it.

    Returns:
        Its fields, and where it ends. A list is there if it is one of structs.

    Raises:
        IndexError: The data end within it.
        ValueError: It is none, or has a field twice, of which readers make different things.
    """
    fields: Struct = {}
    number = 0
    while header := data[at]:
        at += 1
        kind = header & 0x0F
        if header >> 4:
            number += header >> 4
        else:
            raw, at = _varint(data, at)
            number = _signed(raw, 16)
        if (number, kind) in fields:
            raise ValueError(f"field {number} is there twice")
        if kind in _INTEGERS:
            raw = data[at]
            if raw < 0x80:  # noqa: PLR2004 - most are one byte, and a call costs more than this
                at += 1
                fields[number, kind] = (raw >> 1) ^ -(raw & 1)
                continue
            raw, at = _varint(data, at)
            fields[number, kind] = _signed(raw, 32 if kind == I32 else 64)
        elif kind == STRUCT and depth < _MOST_NESTED:
            fields[number, kind], at = read_struct(data, at, depth + 1)
        elif kind == LIST and data[at] & 0x0F == STRUCT and depth < _MOST_NESTED:
            fields[number, kind], at = _structs(data, at, depth + 1)
        elif kind not in BOOLEANS:
            at = _skip(data, at, kind, depth)
    return fields, at + 1


def _structs(data: bytes, at: int, depth: int) -> tuple[list[Struct], int]:
    count, at = _count(data, at)
    found = []
    for _ in range(count):
        each, at = read_struct(data, at, depth)
        found.append(each)
    return found, at


def _skip(data: bytes, at: int, kind: int, depth: int) -> int:
    """Find where a value of this type ends."""
    if depth >= _MOST_NESTED:
        raise ValueError("nested too deeply")
    if kind in _FIXED:
        return at + _FIXED[kind]
    if kind in _INTEGERS:
        return _varint(data, at)[1]
    if kind == BINARY:
        length, at = _varint(data, at)
        return at + length
    if kind == STRUCT:
        return read_struct(data, at, depth + 1)[1]
    if kind in _LISTS:
        element = data[at] & 0x0F
        count, at = _count(data, at)
        return _skip_all(data, at, [element], count, depth)
    if kind == _MAP:
        count, at = _varint(data, at)
        kinds = [data[at] >> 4, data[at] & 0x0F] if count else []
        return _skip_all(data, at + 1 if count else at, kinds, count, depth)
    raise ValueError(f"no Thrift type has number {kind}")


def _skip_all(data: bytes, at: int, kinds: list[int], count: int, depth: int) -> int:
    """Skip the elements of a list, or keys and values of a map; a boolean takes a byte there."""
    for _ in range(count):
        for kind in kinds:
            at = at + 1 if kind in BOOLEANS else _skip(data, at, kind, depth + 1)
        if at > len(data):
            raise IndexError("ends within a list")
    return at


def _count(data: bytes, at: int) -> tuple[int, int]:
    """Read how many elements a list has."""
    header = data[at]
    return (header >> 4, at + 1) if header < 0xF0 else _varint(data, at + 1)  # noqa: PLR2004


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint has no high bit
        return byte, at
    value, shift = byte & 0x7F, 7
    while shift <= _MOST_BITS:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return value, at
        shift += 7
    raise ValueError("a varint is longer than 64 bits")


def _signed(raw: int, bits: int) -> int:
    """Undo zigzag."""
    raw &= (1 << bits) - 1
    return (raw >> 1) ^ -(raw & 1)


def write_struct(fields: Iterable[tuple[int, int, Any]]) -> bytes:
    """Write a struct of integers, binaries, and structs and lists that are written already.

    Args:
        fields: Number, type and value of each; numbers ascend by 15 at most.
    """
    out, last = b"", 0
    for number, kind, value in fields:
        out += bytes([(number - last) << 4 | kind]) + _written(kind, value)
        last = number
    return out + b"\x00"


def write_list(kind: int, values: list[bytes]) -> bytes:
    """Write a list of at most 14 values that are written already."""
    return bytes([len(values) << 4 | kind]) + b"".join(values)


def _written(kind: int, value: Any) -> bytes:
    if kind in _INTEGERS:
        return _written_varint((value << 1) ^ (value >> _MOST_BITS))
    return _written_varint(len(value)) + value if kind == BINARY else bytes(value)


def _written_varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])
