"""A Chromium that is installed on the system, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--no-sandbox",  # root, as in a container, has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoBrowserError(Exception):
    """No Chromium is on the PATH."""


@contextmanager
def page(*, width: int = 1400, height: int = 900, scale: float = 1) -> Iterator[Page]:
    """Open an empty page in a new browser.

    Args:
        width: The window's width in CSS pixels.
        height: The window's height in CSS pixels.
        scale: Device pixels for each CSS pixel.

    Raises:
        NoBrowserError: No Chromium is installed.
    """
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        msg = f"none of {', '.join(_NAMES)} is installed: apt-get install chromium"
        raise NoBrowserError(msg)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=found, args=_FLAGS) as browser,
        browser.new_context(
            viewport={"width": width, "height": height}, device_scale_factor=scale
        ) as context,
    ):
        yield context.new_page()
