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


def human_bytes(count: int) -> str:
    """Write a number of bytes for people, in the largest binary unit of which there is one."""
    size, units = float(count), ["TiB", "GiB", "MiB", "KiB", "bytes"]
    while size >= 1024 and len(units) > 1:  # noqa: PLR2004 - by definition
        size /= 1024
        units.pop()
    digits = 0 if size >= 100 or size == int(size) else 1  # noqa: PLR2004 - three digits in all
    return f"{size:.{digits}f} {units[-1]}"


def human_time(seconds: float) -> str:
    """Write a time for people, in its two largest units: ``4m10s``, ``2h05m``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days or hours:
        return f"{days}d{hours:02}h" if days else f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def counted(number: int, noun: str) -> str:
    """Write a number of things: ``1 object``, ``2 objects``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
