"""What requests cost."""

import re
from dataclasses import dataclass, replace

import click

_EACH = 1000
"""S3 prices so many requests."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for 1,000 requests; by default those of S3 Standard in us-east-1."""

    list: float = 0.005
    get: float = 0.0004
    """GET and HEAD alike."""

    @classmethod
    def of(cls, text: str) -> "Prices":
        """Read ``list=0.005,get=0.0004``; what is left out has its default.

        Raises:
            click.UsageError: It is something else.
        """
        found = cls()
        for part in filter(None, text.split(",")):
            told = re.fullmatch(r"\s*(list|get)=(\d+(?:\.\d*)?|\.\d+)\s*", part)
            if told is None:
                msg = f"--price takes list=DOLLARS,get=DOLLARS for 1,000 requests, got {part!r}."
                raise click.UsageError(msg)
            found = replace(found, **{told[1]: float(told[2])})
        return found

    def dollars(self, *, lists: int, gets: int) -> float:
        """Return what some requests cost."""
        return (lists * self.list + gets * self.get) / _EACH


def shown(dollars: float) -> str:
    """Write an amount of dollars; a small one with more digits."""
    return f"${dollars:,.2f}" if dollars >= 1 or not dollars else f"${dollars:.6f}"
