"""Whether a text is JSON (RFC 8259), without keeping what it says in memory."""

import json
import re
from typing import NoReturn

_SMALL = 65_536
"""Most characters that Python's parser gets: its objects take some twenty times a text's bytes."""
_TOKEN = re.compile(
    r"""[ \t\n\r]*+(?:
        (?P<mark>[\[\]{},:])
        |(?P<text>"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")
        |-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null
    )""",
    re.VERBOSE,
)
_VALUE, _ITEM, _FIRST_KEY, _KEY, _COLON, _END = range(6)
"""What comes next: a value, one or the array's end, a key or the object's end, a key, a colon, or
what follows a value."""
_STARTS = {"[": _ITEM, "{": _FIRST_KEY}
_CLOSES = {"]": (_ITEM, "["), "}": (_FIRST_KEY, "{")}
_AFTER_COMMA = {"[": _VALUE, "{": _KEY}


def is_json(text: str) -> bool:
    """Return whether a text is one JSON value."""
    if len(text) <= _SMALL:
        try:
            _PARSER.decode(text)
        except RecursionError:  # it nests deeply: JSON has no limit
            return _is_json_by_tokens(text)
        except ValueError:
            return False
        return True
    return _is_json_by_tokens(text)


def _nothing(_text: str) -> None:
    """Ignore a number, of which Python would limit the digits."""


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


_PARSER = json.JSONDecoder(parse_float=_nothing, parse_int=_nothing, parse_constant=_refuse)


def _is_json_by_tokens(text: str) -> bool:
    """Follow the grammar token by token; memory is a character for each level of nesting."""
    open_marks: list[str] = []
    state: int | None = _VALUE
    at = 0
    while state != _END or open_marks:
        found = _TOKEN.match(text, at)
        if found is None or state is None:
            return False
        state = _next(state, found, open_marks)
        at = found.end()
    return not text[at:].strip(" \t\n\r")


def _next(state: int, found: re.Match[str], open_marks: list[str]) -> int | None:
    """Return what comes after a token, or ``None`` if the token must not be there."""
    mark, top = found["mark"], open_marks[-1] if open_marks else ""
    if found["text"] is not None and state in (_KEY, _FIRST_KEY):
        return _COLON
    if mark is None or mark in _STARTS:
        if state not in (_VALUE, _ITEM):
            return None
        if mark is None:
            return _END
        open_marks.append(mark)
        return _STARTS[mark]
    if mark in _CLOSES:
        empty, opening = _CLOSES[mark]
        if state != empty and (state, top) != (_END, opening):
            return None
        open_marks.pop()
        return _END
    if mark == ",":
        return _AFTER_COMMA[top] if state == _END else None
    return _VALUE if state == _COLON else None
