"""The parts of destination URLs that all destinations have in common."""

from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from s3pq_dagster.errors import ConfigurationError

S3_OPTIONS = ("endpoint_url", "region", "local_profile")
"""The options after the ``?`` of a URL of tables in S3."""


def shown(parts: SplitResult) -> str:
    """Return a URL without what may hold a password, which may also break it into odd parts."""
    url = parts._replace(query="", fragment="").geturl()
    return f"{parts.scheme}://…" if "@" in parts.geturl() or parts.password else url


def root_of(parts: SplitResult) -> dict[str, Any]:
    """Read ``<kind>:///lake`` or ``<kind>+s3://bucket/prefix?region=…``.

    Returns:
        ``root``, and the options after the ``?``.

    Raises:
        ConfigurationError: The URL has another form; the message says which is needed.
    """
    kind, _, place = parts.scheme.partition("+")
    if place:
        if not parts.hostname or "@" in parts.netloc:
            msg = (
                f"destination {shown(parts)!r} has to be {kind}+s3://bucket/prefix, with a bucket "
                f"and without credentials: these come from AWS_ACCESS_KEY_ID and its like, or a "
                f"profile."
            )
            raise ConfigurationError(msg)
        return {"root": f"s3://{parts.netloc}{parts.path}"} | _options(parts)
    is_path = parts.path.startswith("/") and parts.path != "/"
    if parts.netloc or not is_path or parts.query or parts.fragment:
        msg = (
            f"destination {shown(parts)!r} has to be {kind}:///lake (three slashes: relative to "
            f"the working directory) or {kind}:////data/lake (four: absolute), and nothing else."
        )
        raise ConfigurationError(msg)
    return {"root": parts.path[1:]}


def place_of(kind: str, root: str, endpoint_url: str | None) -> str:
    """Name a directory or a prefix in S3, in the same way in every process."""
    if not root.startswith("s3://"):
        return f"{kind}://{Path(root).absolute()}"
    return f"{kind}+{root.rstrip('/')}" + (f"?endpoint_url={endpoint_url}" if endpoint_url else "")


def check_root(root: str) -> None:
    """Refuse a root that is neither a path nor a prefix in S3.

    Raises:
        ConfigurationError: The root is something else, or has credentials in it.
    """
    parts = urlsplit(root)
    if not root or (parts.scheme and "//" in root and (parts.scheme != "s3" or not parts.netloc)):
        msg = (
            f"`root` is a directory or s3://bucket/prefix, got {shown(parts)!r}. Other object "
            f"stores are not supported."
        )
        raise ConfigurationError(msg)
    if parts.scheme == "s3" and "@" in parts.netloc:
        msg = f"`root` {shown(parts)!r}: credentials do not belong into it, leave them out"
        raise ConfigurationError(msg)


def check_installed(destination: str, module: str, extra: str) -> None:
    """Check that a destination's module can be imported.

    Raises:
        ConfigurationError: It cannot; the message says which extra to install.
    """
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        msg = f"the {destination} destination needs more: pip install 's3pq-dagster[{extra}]'"
        raise ConfigurationError(msg) from error


def _options(parts: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if parts.fragment:
        pairs.append((f"#{parts.fragment}", ""))
    options = dict(pairs)
    if len(options) < len(pairs) or not options.keys() <= set(S3_OPTIONS) or "" in options.values():
        msg = (
            f"destination {shown(parts)!r}: behind the `?` may be {', '.join(S3_OPTIONS)}, each "
            f"once and with a value; found {', '.join(repr(name) for name, _ in pairs)}."
        )
        raise ConfigurationError(msg)
    return options
