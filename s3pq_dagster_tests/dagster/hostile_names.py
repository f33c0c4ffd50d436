"""Hostile names for keys and columns, and the tables that their columns make."""

import pyarrow as pa

TEXTS = {
    "nothing": ("", ""),
    "dot": (".", ""),
    "dots": ("..", ""),
    "statement": ("'; DROP TABLE canary; --", "_DROP_TABLE_canary"),
    "identifier": ('"; DROP TABLE canary; --', "_DROP_TABLE_canary"),
    "quotes": ("'\"`a``b", "_a_b"),
    "backslash": ("a\\b\\", "_a_b"),
    "percent": ("%41%s%", "_41_s"),
    "numbered": ("$1", "_1"),
    "placeholders": ("?:name", "_name"),
    "braces": ("{}{0.__class__}{{", "_0_class"),
    "markup": ("*[a]<x>&amp;<!--", "_a_x_amp"),
    "ARN": ("arn:aws:s3:::lake", "_arn_aws_s3_lake"),
    "tab": ("a\tb\r", "_a_b"),
    "NUL": ("a\x00b", "_a_b"),
    "control": ("\x01\x1b[2J\x7f", "_2J"),
    "C1": ("\x85\x9b2J", "_2J"),
    "line ends": ("a\u2028b\u2029", "_a_b"),
    "emoji": ("\U0001f469\u200d\U0001f4bb", ""),
    "composed": ("caf\u00e9", "_caf"),
    "decomposed": ("cafe\u0301", "_cafe"),
    "right to left": ("a\u202egnp\u200f", "_a_gnp"),
    "no characters": ("\ufeffa\uffff\ufffd", "_a"),
    "spaces": (" a ", "_a"),
    "digit": ("7days", "_7days"),
    "upper": ("ID", "_ID"),
    "lower": ("id", "_id"),
    "long": ("x" * 500, "_" + "x" * 500),
}
"""A text to put into keys and columns, and what its segment adds to a table's name."""
WORDS = [
    *("select", "table", "main", "rowid", "temp", "information_schema", "lake"),
    *("_s3pq_objects", "_s3pq_tables", "_s3pq_batches", "_s3_key", "_cq_id"),
    *("class", "input", "load_select", "__ASSET_JOB"),
]
"""Words that are reserved in SQL, DuckDB, this package, Python or Dagster."""
LONG_PREFIX = "y" * 1000
NO_COLUMN = {"nothing", "NUL"}
"""Texts that no column can have as its name, since DuckDB would change them."""
CASE_TWIN = {"lower"}
"""A name that collides with ``ID``, which is a column too."""
FIELDS = [*(t for n, (t, _) in TEXTS.items() if n not in NO_COLUMN | CASE_TWIN), *WORDS]
COLUMNS = [name for name in FIELDS if name != "_s3_key"]


def struct(*names: str) -> pa.Table:
    """Make a table with a struct of these fields."""
    values = [pa.array([number]) for number in range(len(names))]
    return pa.table({"c": pa.StructArray.from_arrays(values, names=list(names))})


def columns(*names: str) -> pa.Table:
    """Make a table of one row with these columns, numbered."""
    return pa.table([pa.array([number]) for number in range(len(names))], names=list(names))


EVERYTHING = columns(*COLUMNS).append_column("struct", struct(*FIELDS)["c"])
REFUSED = {
    "twice": (columns("a", "b", "a"), "more than one column named 'a'"),
    "no_name": (columns("a", ""), "column '' has a name ''"),
    "nul": (columns("a\x00b"), r"column 'a\\x00b' has a name 'a\\x00b' in it, empty or with NUL"),
    "case": (columns("ID", "id"), "columns 'ID' and 'id' differ only by case"),
    "key": (columns("_s3_key"), "a column '_s3_key'"),
    "key_case": (columns("_S3_Key"), "a column '_S3_Key': '_s3_key', in any case of letters"),
    "field_twice": (struct("a", "a"), "more than one field 'a'"),
    "field_case": (struct("\n", "a", "A"), "fields 'a' and 'A' differ only by case"),
    "field_no_name": (struct("a", ""), "column 'c' has a name ''"),
    "field_nul": (struct("a\x00"), r"column 'c' has a name 'a\\x00'"),
}
"""Tables that are refused, and the error's text."""
KEPT = {
    "cq_id": columns("_cq_id"),
    "cq_id_case": columns("_CQ_Id"),
    "cq_parent": columns("_Cq_Parent_Id"),
    "rowid_case": columns("RowId"),
    "looks_like_ours": columns("_s3_\u212aey", "s3_key", "_s3_key "),
    "looks_alike": columns("k", "\u212a", "\u00e9", "e\u0301", "\u00e4", "\u00c4", "a", "a "),
}
"""Columns that look like reserved or other ones, and are kept."""


def keys() -> dict[str, str]:
    """Return a key for each name, by table: as a prefix and as the last segment."""
    made = {
        f"k{n}{name}": f"k{n}/{text}/1{text}.parquet"
        for n, (text, name) in enumerate(TEXTS.values())
    }
    made |= {word.strip("_"): f"{word}/1{word}.parquet" for word in WORDS}
    made |= {LONG_PREFIX: f"{LONG_PREFIX}/1.parquet", "long": f"long/{'z' * 1000}.parquet"}
    made |= {
        "lead": "/lead/1.parquet",
        "up": "../../up/1.parquet",
        "2_slashes": "2_//slashes/1.parquet",
    }
    return made
