"""Thrift's compact protocol, read as far as Parquet needs it."""

import pytest

from s3pq_dagster.thrift import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    read_struct,
    write_list,
    write_struct,
)
from s3pq_dagster_tests.malformed.crafted import elements, struct, varint, zigzag

MAP, SET, DOUBLE, BYTE, I16, TRUE, FALSE = 11, 10, 7, 3, 4, 1, 2


@pytest.mark.parametrize("number", [0, 1, -1, 63, 64, -65, 2**31 - 1, -(2**31)])
def test_what_is_written_is_read(number: int) -> None:
    """Integers, binaries, structs and lists of structs come back, and the end is found."""
    inner = write_struct([(1, I32, number), (4, I64, number)])
    data = write_struct([(1, I32, 7), (3, STRUCT, inner), (9, LIST, write_list(STRUCT, [inner]))])
    read = {(1, I32): number, (4, I64): number}
    assert read_struct(data + b"more") == (
        {(1, I32): 7, (3, STRUCT): read, (9, LIST): [read]},
        len(data),
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (BINARY, b"\x05hello"),
        (LIST, elements(I32, 20, zigzag(5) * 20)),
        (LIST, elements(TRUE, 3, b"\x01\x02\x01")),
        (LIST, elements(LIST, 2, elements(BINARY, 1, b"\x01x") * 2)),
        (SET, elements(I64, 2, zigzag(-1) * 2)),
        (MAP, b"\x00"),
        (MAP, varint(2) + bytes([BINARY << 4 | I32]) + (b"\x01k" + zigzag(1)) * 2),
        (DOUBLE, bytes(8)),
        (BYTE, b"\x09"),
        (TRUE, b""),
        (FALSE, b""),
    ],
)
def test_what_nobody_asks_for_is_skipped(kind: int, value: bytes) -> None:
    """Fields of every other type are passed over to the one behind them."""
    data = bytes([1 << 4 | kind]) + value + bytes([1 << 4 | I32]) + zigzag(42) + b"\x00"
    fields, end = read_struct(data)
    assert (fields[2, I32], end) == (42, len(data))


def test_a_field_number_may_be_written_out() -> None:
    """The long form, in which a field does not follow from the one before."""
    assert read_struct(bytes([I32]) + zigzag(300) + zigzag(5) + b"\x00")[0] == {(300, I32): 5}


def test_an_i32_keeps_its_lower_bits() -> None:
    """As in the library that decodes, or two readers would see two numbers."""
    data = bytes([1 << 4 | I32]) + varint(2**40 | 10) + b"\x00"
    assert read_struct(data)[0] == {(1, I32): 5}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", IndexError),
        (b"\x15", IndexError),
        (b"\x15\x02", IndexError),
        (b"\x15\x02\x05\x02\x04\x00", ValueError),  # number 1 twice
        (b"\x1d\x00", ValueError),  # no such type
        (b"\x15" + b"\xff" * 11 + b"\x00", ValueError),  # endless
        (b"\x1c" * 50, ValueError),  # a struct in a struct in a …
        (b"\x19" * 50, ValueError),
        (b"\x19" + elements(I32, 2**40), IndexError),
        (b"\x19" + elements(TRUE, 2**40), IndexError),
        (b"\x19" + elements(STRUCT, 2**40), IndexError),
    ],
)
def test_what_is_no_struct_is_an_error(data: bytes, error: type[Exception]) -> None:
    """Broken, twofold or endless: never a loop, a guess or a deep stack."""
    with pytest.raises(error):
        read_struct(data)


def test_the_writers_of_product_and_tests_agree() -> None:
    """Two encoders of one protocol."""
    fields = [(1, I32, -5), (2, BINARY, b"name"), (5, I64, 2**40)]
    assert write_struct(fields) == struct(fields)
