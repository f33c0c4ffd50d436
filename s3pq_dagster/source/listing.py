"""A whole listing: branches of keys side by side, and to be left half-way and gone on with."""

import math
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import polars as pl

from s3pq_dagster.objects import Listing
from s3pq_dagster.source.listing_page import Page, list_page
from s3pq_dagster.source.requests import Requests
from s3pq_dagster.source.store import Store

_MOST_BRANCHES = 64
"""More are listed one after the other: each costs a request, however little is in it."""
_PAGES_TO_SPLIT = 4
"""After so many pages what was listed is worth more than what would be saved."""
_MOST_REQUESTS = 16
"""At a time."""
_WAIT_SECONDS = 1


@dataclass(slots=True)
class _Branch:
    """What starts with a prefix; listed page after page, or split at the next slash."""

    prefix: str
    parent: str | None = None
    """What was split for it."""
    may_split: bool = True
    is_split: bool = False
    """Whether it is asked for with a delimiter, for the branches below it."""
    token: str | None = None
    seen: set[str] = field(default_factory=set)
    """Tokens that were asked for."""
    pages: list[pl.DataFrame] = field(default_factory=list)

    def is_of_one_branch(self, page: Page) -> bool:
        """Tell whether a page lies below one slash further down, and more is to come."""
        if page.next_token is None or page.objects.is_empty():
            return False
        keys = page.objects["key"].to_list()
        below = keys[0][: keys[0].find("/", len(self.prefix)) + 1]
        return bool(below) and all(key.startswith(below) for key in keys)


class BucketListing:
    """All objects under a prefix.

    A listing of S3 comes in pages of 1,000, each of which has to wait for the one before. Where
    pages fill up below one slash, what is below each slash at that place is listed side by side:
    a request more for each, and all of them at a time.
    """

    def __init__(self, prefix: str) -> None:
        """Begin; nothing is asked yet.

        Args:
            prefix: Any string; empty lists the bucket.
        """
        self._left = deque([_Branch(prefix)])
        self._pages: list[pl.DataFrame] = []
        self._listed_again: set[str] = set()

    @property
    def objects(self) -> int:
        """How many are listed so far."""
        unfinished = (page for branch in self._left for page in branch.pages)
        return sum(page.height for page in [*self._pages, *unfinished])

    def go_on(
        self, store: Store, *, concurrency: int = -1, seconds: float | None = None
    ) -> Listing | None:
        """List on.

        Args:
            store: The bucket.
            concurrency: Most requests at a time, of 16; negative: so many.
            seconds: After these no more pages are asked for; one is in any case.

        Returns:
            The listing; ``None`` where the time was not enough, which is for another call.

        Raises:
            StoreError: As :func:`~s3pq_dagster.source.listing_page.list_page`; what was listed so
                far is lost.
        """
        until = math.inf if seconds is None else time.monotonic() + seconds
        is_begun = False
        most = min(concurrency, _MOST_REQUESTS) if concurrency > 0 else _MOST_REQUESTS
        pool = ThreadPoolExecutor(most, "s3pq-list")
        asked: dict[Future[Page], _Branch] = {}
        try:
            while self._left or asked:
                while (
                    self._left and len(asked) < most and not (is_begun and time.monotonic() > until)
                ):
                    is_begun, branch = True, self._left.popleft()
                    asked[pool.submit(_page, store.requests, branch)] = branch
                if not asked:
                    return None
                # In small steps, between which a cancel is heard.
                for done in wait(asked, _WAIT_SECONDS, FIRST_COMPLETED).done:
                    self._left.extendleft(self._after(asked.pop(done), done.result()))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return Listing.of_pages(self._pages)

    def _after(self, branch: _Branch, page: Page) -> list[_Branch]:
        """Keep a page, and say what follows from it."""
        if branch.is_split:
            if page.next_token is not None or len(page.prefixes) > _MOST_BRANCHES:
                return [_Branch(branch.prefix, may_split=False)]
            self._pages.append(page.objects)
            return [_Branch(prefix, branch.prefix) for prefix in page.prefixes]
        if self._is_astray(branch, page):
            return [_Branch(str(branch.parent), may_split=False)]
        can_split = branch.may_split and len(branch.pages) < _PAGES_TO_SPLIT
        if can_split and branch.is_of_one_branch(page):
            return [_Branch(branch.prefix, is_split=True)]
        branch.pages.append(page.objects)
        if page.next_token is None:
            self._pages += branch.pages
            return []
        branch.token = page.next_token
        return [branch]

    def _is_astray(self, branch: _Branch, page: Page) -> bool:
        """Tell whether nothing is where a branch was said to be, for the first time there.

        So it is when all of it was deleted meanwhile, or when a server writes the names of branches
        otherwise than those of keys. The whole is listed then, in which a key counts once.
        """
        is_empty = page.objects.is_empty() and page.next_token is None and not branch.pages
        if branch.parent is None or not is_empty or branch.parent in self._listed_again:
            return False
        self._listed_again.add(branch.parent)
        return True


def _page(requests: Requests, branch: _Branch) -> Page:
    return list_page(
        requests,
        branch.prefix,
        delimiter="/" if branch.is_split else "",
        token=branch.token,
        seen=branch.seen,
    )


def list_prefix(store: Store, prefix: str, *, delimiter: str = "") -> Listing:
    """List the objects whose keys start with a raw string, page after page.

    Args:
        store: The bucket.
        prefix: Any string; empty lists the bucket.
        delimiter: ``/`` leaves out keys with a further slash behind the prefix.

    Returns:
        The objects in the bucket's order.

    Raises:
        StoreError: As :func:`~s3pq_dagster.source.listing_page.list_page`.
    """
    seen: set[str] = set()
    page = list_page(store.requests, prefix, delimiter=delimiter, seen=seen)
    pages = [page.objects]
    while (token := page.next_token) is not None:
        page = list_page(store.requests, prefix, delimiter=delimiter, token=token, seen=seen)
        pages.append(page.objects)
    return Listing.of_pages(pages)
