"""Templates of keys: what they match, and what they capture."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from s3pq_dagster.layout.value_types import TEXT, ValueType

SUFFIX = ".parquet"
"""Extension of a Parquet object's key, in any case of letters."""
HIVE = "hive"
"""Name of the capture that takes ``key=value`` segments."""
_HIVE_SEGMENTS = "((?:[^/=]+=[^/]*/)*)"
_ANY_SEGMENTS = "(?:[^/]*/)*"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that matches itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Wildcard:
    """``*`` or ``**/``."""

    text: str

    @property
    def regex(self) -> str:
        """What it matches, without a group."""
        return "[^/]*" if self.text == "*" else _ANY_SEGMENTS


@dataclass(frozen=True, slots=True)
class Capture:
    """``{name}``, ``{name:type}`` or ``{hive}/``."""

    name: str
    type: ValueType | None = None

    @property
    def text(self) -> str:
        """How it is written in a template."""
        if self.name == HIVE:
            return "{hive}/"
        return f"{{{self.name}}}" if self.type is None else f"{{{self.name}:{self.type.name}}}"

    @property
    def regex(self) -> str:
        """What it matches, as one group."""
        if self.name == HIVE:
            return _HIVE_SEGMENTS
        return "([^/]+?)" if self.type is None else f"({self.type.shape})"


Part = Literal | Wildcard | Capture


class TemplateError(ValueError):
    """A template cannot be read; the message points at the place."""

    def __init__(self, template: str, position: int, reason: str) -> None:
        """Say where the template is wrong, and why."""
        self.position = position
        rest = template[position : position + 20]
        where = f"at character {position + 1} ({rest!r})" if rest else "at its end"
        super().__init__(f"template {template!r}, {where}: {reason}")


@dataclass(frozen=True, slots=True)
class Template:
    """A template of whole keys, as its parts."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The template as it is written; reading it gives the same parts."""
        return "".join(
            escaped(part.text) if isinstance(part, Literal) else part.text for part in self.parts
        )

    @property
    def captures(self) -> list[Capture]:
        """What it captures, in order."""
        return [part for part in self.parts if isinstance(part, Capture)]

    @property
    def prefix(self) -> str:
        """The longest text that each matching key begins with."""
        first = self.parts[0] if self.parts else None
        return first.text if isinstance(first, Literal) else ""

    @property
    def regex(self) -> str:
        """A regular expression for Polars with a group for each capture; it takes linear time."""
        parts = (
            pl.escape_regex(part.text) if isinstance(part, Literal) else part.regex
            for part in self.parts
        )
        return rf"\A{''.join(parts)}\z"

    def filled(self, values: Mapping[str, str]) -> "Template":
        """Return the template with some captures replaced by what they captured."""
        parts = [
            Literal(values[part.name])
            if isinstance(part, Capture) and part.name in values
            else part
            for part in self.parts
        ]
        return Template(_joined(parts))


def escaped(text: str) -> str:
    """Write text so that a template has it as a literal."""
    return re.sub(r"[{}*]", lambda found: _ESCAPES[found[0]], text)


_ESCAPES = {"{": "{{", "}": "}}", "*": "{*}"}
_TOKENS = re.compile(
    r"(?P<literal>\{\{|\}\}|\{\*\})"
    r"|(?P<segments>\*\*)"
    r"|(?P<run>\*)"
    r"|\{(?P<capture>[^{}]*)\}"
    r"|(?P<text>[^{}*]+)",
    re.DOTALL,
)


def read_template(text: str) -> Template:
    """Read a template of keys.

    Literals match themselves; ``*`` any run without a slash, ``**/`` whole segments; ``{name}``
    captures one or more characters without a slash, as few as fit, ``{name:type}`` text of that
    type's shape, ``{hive}/`` the segments ``key=value/``. ``{{``, ``}}`` and ``{*}`` are a brace
    and an asterisk.

    Raises:
        TemplateError: It is no template.
    """
    parts: list[Part] = []
    position = 0
    while position < len(text):
        if (found := _TOKENS.match(text, position)) is None:
            raise TemplateError(text, position, "a brace without its pair; write '{{' or '}}'")
        part, end = _part(text, found)
        parts.append(part)
        position = end
    names = [part.name for part in parts if isinstance(part, Capture)]
    if twice := [name for name in names if names.count(name) > 1]:
        at = text.rfind("{" + twice[0])
        raise TemplateError(text, at, f"{twice[0]!r} is captured twice")
    if not parts:
        raise TemplateError(text, 0, "it is empty, and would match no key")
    return Template(_joined(parts))


def _part(text: str, found: re.Match[str]) -> tuple[Part, int]:
    """Return the part that a token stands for, and where the next token begins."""
    position, end = found.span()
    if found["literal"] is not None:
        return Literal({"{{": "{", "}}": "}", "{*}": "*"}[found[0]]), end
    if found["text"] is not None:
        return Literal(found[0]), end
    if found["run"] is not None:
        return Wildcard("*"), end
    if found["segments"] is not None:
        return Wildcard("**/"), _end_of_segments(text, position, end)
    capture = _capture(text, position, found["capture"])
    if capture.name == HIVE:
        end = _end_of_segments(text, position, end)
    return capture, end


def _end_of_segments(text: str, position: int, end: int) -> int:
    """Return where the slash behind whole segments ends."""
    token = text[position:end]
    if position and text[position - 1] != "/":
        raise TemplateError(text, position, f"{token!r} must begin a segment, behind a slash")
    if text[end : end + 1] != "/":
        raise TemplateError(text, position, f"{token!r} takes whole segments: a '/' must follow")
    return end + 1


def _capture(text: str, position: int, inner: str) -> Capture:
    name, colon, kind = inner.partition(":")
    if _NAME.fullmatch(name) is None:
        raise TemplateError(
            text, position, f"{name!r} is no name of letters, digits, '_' and '-' for a capture"
        )
    if not colon:
        return Capture(name)
    if name == HIVE:
        raise TemplateError(text, position, "give the types of {hive} in `types`")
    try:
        known = ValueType.named(kind)
    except ValueError as error:
        raise TemplateError(text, position, str(error)) from None
    return Capture(name, None if known is TEXT else known)


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """Join literals that follow each other."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, Literal) and joined and isinstance(joined[-1], Literal):
            joined[-1] = Literal(joined[-1].text + part.text)
        else:
            joined.append(part)
    return tuple(joined)
