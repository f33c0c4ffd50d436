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
    key: str | None = None
    """Key of the object that the error is about, if it is about one."""

    def about(self) -> list[tuple[str, str]]:
        """Return key or prefix of each object that the error is about, and what is said of it."""
        return [] if self.key is None else [(self.key, str(self))]


class ConfigurationError(S3ParquetError):
    """An environment variable or a destination URL cannot be used."""
