"""What all errors have in common."""

from typing import ClassVar


def one_line(text: str) -> str:
    """Escape what is not printable, as ``repr`` does, but without quotes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class S3ParquetError(Exception):
    """Say what was tried, what was found and what to do next."""

    retryable: ClassVar[bool] = False


class ConfigurationError(S3ParquetError):
    """An environment variable or a destination URL cannot be used."""
