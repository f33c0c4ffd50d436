"""A column of every type that Parquet files can have, with its extreme values and a null."""

import datetime as dt
import uuid
from decimal import Decimal

import pyarrow as pa

_DAY = dt.date(2024, 2, 14)
_MOMENT = 1_707_912_000
_FAR_PAST, _FAR_FUTURE = -62_135_596_800, 253_402_300_799
"""The first second of year 1 and the last of year 9999."""
_US = 1_000_000
_UUID = uuid.UUID("282b19e3-0194-8a83-8800-000000000000").bytes

REFUSED = pa.map_(pa.string(), pa.struct([("\x00", pa.int8())]))
"""A type that no destination takes."""


def _integers() -> dict[str, pa.Array]:
    signed = {f"int{n}": (f"int{n}", -(2 ** (n - 1)), 2 ** (n - 1) - 1) for n in (8, 16, 32, 64)}
    unsigned = {f"uint{n}": (f"uint{n}", 0, 2**n - 1) for n in (8, 16, 32, 64)}
    return {
        name: pa.array([low, high, 1, None], pa.type_for_alias(alias))
        for name, (alias, low, high) in (signed | unsigned).items()
    }


def _times() -> dict[str, pa.Array]:
    columns = {}
    for unit, scale in (("s", 1), ("ms", 1_000), ("us", _US), ("ns", 1_000 * _US)):
        for zone in (None, "UTC", "Europe/Berlin", "+05:30"):
            kind = pa.timestamp(unit, zone)
            name = f"timestamp({unit}{', ' + zone if zone else ''})"
            columns[name] = pa.array([0, _MOMENT * scale, -scale, None], kind)
            if unit != "ns" and zone in (None, "UTC"):
                far = [_FAR_PAST * scale, _FAR_FUTURE * scale, None]
                columns[f"{name}, years 1 to 9999"] = pa.array(far, kind)
        columns[f"duration({unit})"] = pa.array([1, -1, 90_000 * scale, None], pa.duration(unit))
    odd = [1, -1, _MOMENT * 1_000 * _US + 123_456_789, None]
    columns["timestamp(ns), single nanoseconds"] = pa.array(odd, pa.timestamp("ns"))
    columns["timestamp(ns, UTC), single nanoseconds"] = pa.array(odd, pa.timestamp("ns", "UTC"))
    ends = [-(2**63) + 1, 2**63 - 1]
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ns")):
        columns[f"{_name(kind)}, the ends of 64 bits"] = pa.array(ends, kind)
    columns["timestamp(s), the ends of 64 bits"] = pa.array(ends, pa.timestamp("s"))
    return columns | {
        "date32": pa.array([_DAY, dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
        "date32, the ends of 32 bits": pa.array([-(2**31) + 1, 2**31 - 1], pa.date32()),
        "date64": pa.array([_DAY, None], pa.date64()),
        "time32(s)": pa.array([0, 86_399, None], pa.time32("s")),
        "time32(ms)": pa.array([1, 86_399_999, None], pa.time32("ms")),
        "time64(us)": pa.array([1, 86_399_999_999, None], pa.time64("us")),
        "time64(ns)": pa.array([1_000, 86_399_999_999_000, None], pa.time64("ns")),
        "time64(ns), single nanoseconds": pa.array([1, 86_399_999_999_999], pa.time64("ns")),
    }


def _name(kind: pa.DataType) -> str:
    return str(kind).replace("[", "(").replace("]", ")").replace("tz=", "")


def _decimals() -> dict[str, pa.Array]:
    cases: dict[str, tuple[pa.DataType, list[str]]] = {
        "decimal32(9, 2)": (pa.decimal32(9, 2), ["1.23", "-9999999.99"]),
        "decimal64(18, 2)": (pa.decimal64(18, 2), ["1.23", "-9999999999999999.99"]),
        "decimal128(11, 2)": (pa.decimal128(11, 2), ["123456789.12", "-0.01"]),
        "decimal128(38, 0)": (pa.decimal128(38, 0), ["9" * 38, "-" + "9" * 38]),
        "decimal128(38, 38)": (pa.decimal128(38, 38), ["0." + "9" * 38, "0"]),
        "decimal256(76, 0)": (pa.decimal256(76, 0), ["9" * 76, "-1"]),
        "decimal256(50, 10)": (pa.decimal256(50, 10), ["1.0000000001", "-1"]),
    }
    return {
        name: pa.array([*map(Decimal, values), None], kind)
        for name, (kind, values) in cases.items()
    }


def _nested() -> dict[str, pa.Array]:
    struct = pa.struct([("a", pa.int64()), ("b", pa.struct([("c", pa.list_(pa.string()))]))])
    quoted = [("A b", pa.int64()), ('q"', pa.string()), ("select", pa.float64())]
    at = pa.list_(pa.struct([("at", pa.timestamp("us", "UTC"))]))
    thrice = pa.list_(pa.struct([("m", pa.map_(pa.string(), pa.list_(pa.int32())))]))
    return {
        "list(int32)": pa.array([[1, None], [], None], pa.list_(pa.int32())),
        "list(string)": pa.array([["a", None, ""], [], None], pa.list_(pa.string())),
        "list(list(string))": pa.array([[["a"], None, []], None], pa.list_(pa.list_(pa.string()))),
        "fixed_size_list(int16, 2)": pa.array([[1, 2], None], pa.list_(pa.int16(), 2)),
        "struct": pa.array([{"a": 1, "b": {"c": ["x"]}}, {"a": None, "b": None}, None], struct),
        "struct with odd names": pa.array(
            [{"A b": 1, 'q"': "x", "select": 2.5}, None], pa.struct(quoted)
        ),
        "map(string, int64)": pa.array(
            [[("k", 1), ("l", None)], [], None], pa.map_(pa.string(), pa.int64())
        ),
        "list(struct(timestamp))": pa.array([[{"at": 1}], None], at),
        "list(struct(map(string, list(int32))))": pa.array(
            [[{"m": [("k", [1, None])]}], [], None], thrice
        ),
        "list(float16)": pa.array([[1.5]], pa.list_(pa.float16())),
        "struct(struct(float16))": pa.array(
            [{"a": {"b": 1.5}}], pa.struct([("a", pa.struct([("b", pa.float16())]))])
        ),
        "map(string, float16)": pa.array([[("k", 1.5)]], pa.map_(pa.string(), pa.float16())),
        "struct with an empty name": pa.array([{"": 1}], pa.struct([("", pa.int8())])),
        "struct with NUL in a name": pa.array([{"a\x00b": 1}], pa.struct([("a\x00b", pa.int8())])),
        "list(struct with NUL in a name)": pa.array(
            [[{"a\x00b": 1}]], pa.list_(pa.struct([("a\x00b", pa.int8())]))
        ),
        "struct with one name twice": pa.StructArray.from_arrays(
            [pa.array([1]), pa.array([2])], names=["a", "a"]
        ),
        "struct with names that differ by case": pa.StructArray.from_arrays(
            [pa.array([1]), pa.array([2])], names=["a", "A"]
        ),
    }


def _extensions_within() -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    uuids = pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([_UUID, None, bytes(16)], pa.binary(16))
    )
    jsons = pa.array(['{"a": [1, 2.50]}', None, " 1 "], pa.json_())
    texts = pa.array(["k", "l", "m"])
    for name, values in {"uuid": uuids, "json": jsons}.items():
        columns |= {
            f"list({name})": pa.ListArray.from_arrays([0, 2, None, 3], values),
            f"fixed_size_list({name}, 3)": pa.FixedSizeListArray.from_arrays(values, 3),
            f"struct({name})": pa.StructArray.from_arrays(
                [values], ["x"], mask=pa.array([False, False, True])
            ),
            f"map(string, {name})": pa.MapArray.from_arrays([0, 2, 2, 3], texts, values),
        }
    keys = uuids.take(pa.array([0, 2]))
    columns["map(uuid, json)"] = pa.MapArray.from_arrays(
        [0, 1, 2], keys, jsons.take(pa.array([0, 2]))
    )
    deep = pa.StructArray.from_arrays([columns["list(uuid)"]], ["x"])
    columns["list(struct(list(uuid)))"] = pa.ListArray.from_arrays([0, 1, None, 3], deep)
    return columns


COLUMNS: dict[str, pa.Array] = {
    "null": pa.nulls(2),
    "bool": pa.array([True, False, None]),
    **_integers(),
    "float16": pa.array([1.5, None], pa.float16()),
    "float32": pa.array([1.5, -0.0, float("inf"), 3.4028234663852886e38, None], pa.float32()),
    "float64": pa.array([0.1, -0.0, float("-inf"), float("nan"), 5e-324, None], pa.float64()),
    **_decimals(),
    "string": pa.array(["", "a", "ü\U0001f600", "a" * 10_000, None]),
    "string with NUL": pa.array(["a\x00b", "\x00"]),
    "binary": pa.array([b"", b"\x00\xff", b"'", None]),
    "fixed_size_binary(3)": pa.array([b"abc", b"\x00\x01\x02", None], pa.binary(3)),
    **_times(),
    **_nested(),
    "uuid": pa.array([_UUID, bytes(16), None], pa.uuid()),
    "json": pa.array(['{"a": [1, 2.50]}', "null", " 1 ", None], pa.json_()),
    **_extensions_within(),
}
"""Columns by the type name that ``docs/types.md`` uses."""
FAMILIES = (
    *("null", "bool", "int64", "uint64", "float16", "float64", "decimal128(38, 0)", "string"),
    *("binary", "date32", "time64(us)", "timestamp(us)", "timestamp(us, UTC)", "timestamp(ns)"),
    *("duration(us)", "list(string)", "struct", "map(string, int64)", "uuid", "json"),
    *("list(uuid)", "struct(json)", "map(uuid, json)", "list(struct(list(uuid)))"),
)
"""One type of each family: the others need as much time and seldom fail alone."""
