"""A whole listing: branches of keys are listed concurrently, and a listing can be resumed."""

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
"""Most branches to list concurrently: each costs a request, however few keys it has."""
_PAGES_TO_SPLIT = 4
"""Pages after which a branch is not split: its pages so far would be lost."""
_MOST_REQUESTS = 16
"""Most concurrent requests."""
_WAIT_SECONDS = 1


@dataclass(slots=True)
class _Branch:
    """The keys that start with a prefix: listed page after page, or split at the next slash."""

    prefix: str
    parent: str | None = None
    """Prefix of the branch that was split into this and others."""
    may_split: bool = True
    is_split: bool = False
    """Whether the next request has a delimiter, to find the branches below."""
    token: str | None = None
    seen: set[str] = field(default_factory=set)
    """Continuation tokens so far."""
    pages: list[pl.DataFrame] = field(default_factory=list)

    def has_one_branch(self, page: Page) -> bool:
        """Return whether all keys of a page share the next slash, and more pages follow."""
        if page.next_token is None or page.objects.is_empty():
            return False
        keys = page.objects["key"].to_list()
        below = keys[0][: keys[0].find("/", len(self.prefix)) + 1]
        return bool(below) and all(key.startswith(below) for key in keys)


class BucketListing:
    """All objects under a prefix.

    S3 lists in pages of 1,000 keys, and a page can be asked for only when the one before it is
    there. So where a page's keys all lie below one slash, the branches at that level are found by
    a request with a delimiter, and each branch is listed concurrently with the others.
    """

    def __init__(self, prefix: str) -> None:
        """Name what to list; nothing is sent yet.

        Args:
            prefix: Any string; empty lists the bucket.
        """
        self._left = deque([_Branch(prefix)])
        self._pages: list[pl.DataFrame] = []
        self._listed_again: set[str] = set()
        self.requests = 0
        """How many pages were asked for so far, those of branches that were found included."""

    @property
    def objects(self) -> int:
        """Number of objects listed so far."""
        unfinished = (page for branch in self._left for page in branch.pages)
        return sum(page.height for page in [*self._pages, *unfinished])

    def go_on(
        self, store: Store, *, concurrency: int = -1, seconds: float | None = None
    ) -> Listing | None:
        """Continue the listing.

        Args:
            store: The bucket.
            concurrency: Most concurrent requests, up to 16; negative means 16.
            seconds: Time after which no more pages are asked for; at least one is.

        Returns:
            The listing; ``None`` if the time was not enough and another call has to continue.

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
                # A short wait, so that an interrupt is noticed.
                for done in wait(asked, _WAIT_SECONDS, FIRST_COMPLETED).done:
                    self.requests += 1
                    self._left.extendleft(self._after(asked.pop(done), done.result()))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return Listing.of_pages(self._pages)

    def _after(self, branch: _Branch, page: Page) -> list[_Branch]:
        """Keep a page of a branch, and return the branches that are to be asked for next.

        A branch that was split may turn out to have too many branches below, and is then listed
        page after page; a branch of it that is unexpectedly empty has the whole listed again.
        """
        if branch.is_split:
            if page.next_token is not None or len(page.prefixes) > _MOST_BRANCHES:
                return [_Branch(branch.prefix, may_split=False)]
            self._pages.append(page.objects)
            return [_Branch(prefix, branch.prefix) for prefix in page.prefixes]
        if self._is_missing(branch, page):
            return [_Branch(str(branch.parent), may_split=False)]
        can_split = branch.may_split and len(branch.pages) < _PAGES_TO_SPLIT
        if can_split and branch.has_one_branch(page):
            return [_Branch(branch.prefix, is_split=True)]
        branch.pages.append(page.objects)
        if page.next_token is None:
            self._pages += branch.pages
            return []
        branch.token = page.next_token
        return [branch]

    def _is_missing(self, branch: _Branch, page: Page) -> bool:
        """Return whether a branch that was announced is empty, for the first time at its parent.

        Its objects may have been deleted meanwhile, or the server encodes the names of branches
        differently from keys. The parent is then listed page after page; a key that comes twice
        counts once.
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
    """List the objects whose keys start with a raw string, one page after the other.

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
