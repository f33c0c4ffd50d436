"""What the site needs beside its theme: the menu, links to the source, and no strangers."""

import logging
import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_LOG = logging.getLogger("mkdocs.hooks")
"""A strict build fails after a warning."""
_LINK = re.compile(r"(\]\()(\.\./[^)\s#]*)((?:#[^)\s]*)?\))")
_LOADING = {
    **dict.fromkeys(("script", "img", "iframe", "embed", "source", "audio", "video"), "src"),
    "object": "data",
}
"""Elements by which a page loads something, and the attribute that says what."""
_LOADED_LINKS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect"}
_IN_STYLES = re.compile(r"(?:@import\s*|url\()\s*[\"']?((?:https?:)?//[^\"')\s]+)")


def on_config(config: Any) -> Any:
    """Put the pages that a pattern takes, as ``folder/*.md``, where the menu has it."""
    config.nav = _expanded(config.nav, Path(config.docs_dir))
    return config


def _expanded(entries: list[Any], docs: Path) -> list[Any]:
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            ((name, below),) = entry.items()
            found.append({name: below if isinstance(below, str) else _expanded(below, docs)})
        else:
            pages = sorted(docs.glob(entry)) if "*" in entry else [docs / entry]
            found += [page.relative_to(docs).as_posix() for page in pages]
    return found


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Let relative links that leave ``docs`` lead to the repository.

    Such a link works as it is where the page is read in the repository.
    """
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def to_repository(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[2]))
        if path == "docs" or path.startswith("docs/"):
            return link[0]
        return f"{link[1]}{config.extra['source_url']}/blob/main/{path}{link[3]}"

    return _LINK.sub(to_repository, markdown)


def on_post_build(config: Any) -> None:
    """Warn of pages that load something from elsewhere."""
    for found in strangers(Path(config.site_dir)):
        _LOG.warning("loaded from elsewhere: %s", found)


def strangers(site: Path) -> list[str]:
    """Return what the pages and styles of a site load from other hosts, with the page of each."""
    found = []
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        text = path.read_text(encoding="utf-8")
        loaded = _IN_STYLES.findall(text)
        if path.suffix == ".html":
            (parser := _Loaded()).feed(text)
            loaded += parser.found
        found += [f"{path.relative_to(site)}: {url}" for url in loaded if urlsplit(url).netloc]
    return found


class _Loaded(HTMLParser):
    """What a page loads when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address that an element loads."""
        values = {name: value or "" for name, value in attrs}
        if tag in _LOADING:
            self.found.append(values.get(_LOADING[tag], ""))
        if tag == "link" and _LOADED_LINKS & set(values.get("rel", "").split()):
            self.found.append(values.get("href", ""))
        if values.get("data-md-component") == "source":
            self.found.append("https://api.github.com/")  # what the theme's script asks
