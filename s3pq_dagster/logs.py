"""How a log line reads: ``event key=value …`` (logfmt)."""

import json
import re

_PLAIN = re.compile(r"[^\s\"'=\\]+")


def line(event: str, /, **fields: object) -> str:
    """Write one structured log line.

    Args:
        event: What happened, in ``snake_case``.
        **fields: Facts, in the order they should read. ``None`` is left out; text that would
            break the line or what shows it (spaces, quotes, newlines, terminal codes, marks of
            direction) is quoted as JSON.

    Returns:
        One line without a newline, whatever is in the fields.
    """
    parts = [event]
    for name, value in fields.items():
        if value is None:
            continue
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
        plain = text.isprintable() and _PLAIN.fullmatch(text)
        parts.append(f"{name}={text if plain else json.dumps(text)}")
    return " ".join(parts)
