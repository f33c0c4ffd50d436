"""The base class of all errors."""

from typing import ClassVar


def one_line(text: str) -> str:
    """Escape unprintable characters as ``repr`` does, without adding quotes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class S3ParquetError(Exception):
    """An error whose message says what was tried, what was found and what to do next."""

    retryable: ClassVar[bool] = False
    """Whether the same step may succeed when it is tried again at once."""
    lasting: ClassVar[bool] = False
    """Whether each run fails in the same way until objects, definitions or configuration change."""


class ConfigurationError(S3ParquetError):
    """An environment variable or a destination URL cannot be used."""
