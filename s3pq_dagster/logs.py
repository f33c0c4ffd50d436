"""The format of a log line: ``event key=value …`` (logfmt)."""

import json
import re

_PLAIN = re.compile(r"[^\s\"'=\\]+")


def line(event: str, /, **fields: object) -> str:
    """Write one structured log line.

    Args:
        event: Name of the event, in ``snake_case``.
        **fields: Facts in the order to read them. ``None`` is left out; text that would break the
            line or a terminal (spaces, quotes, newlines, control codes, marks of direction) is
            quoted as JSON.

    Returns:
        One line without a newline, whatever the fields hold.
    """
    parts = [event]
    for name, value in fields.items():
        if value is None:
            continue
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
        plain = text.isprintable() and _PLAIN.fullmatch(text)
        parts.append(f"{name}={text if plain else json.dumps(text)}")
    return " ".join(parts)
