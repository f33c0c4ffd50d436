"""Which requests a fault hits, by a seed, independent of the order of threads."""

import hashlib
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from s3pq_dagster_tests.proxy import Request


class Stage(StrEnum):
    """The purpose of a request."""

    LISTING = "listing"
    FOOTER = "footer"
    DATA = "data"
    """Reads of whole small objects."""
    RANGES = "ranges"
    """Reads of byte ranges of large objects."""


class Kind(StrEnum):
    """The kind of a fault."""

    INTERNAL_ERROR = "500"
    SLOW_DOWN = "503 SlowDown"
    TOO_MANY = "429"
    RESET_IN_HEADERS = "reset in the headers"
    RESET_IN_BODY = "reset in the body"
    GARBAGE = "no HTTP at all"
    TRUNCATED = "truncated body"
    STALLED = "stalled body"
    SLOW = "slow first byte, within the limit"
    TOO_SLOW = "slow first byte, beyond the limit"
    SHORT_LENGTH = "Content-Length too short"
    SHORT = "short body, Content-Length agrees"
    FORBIDDEN = "403 from the n-th on"
    EXPIRED = "expired token from the n-th on"
    OVERWRITTEN = "overwritten meanwhile"
    CHANGING = "listing changes between pages"
    TOKEN_REFUSED = "continuation token refused"
    NO_TOKEN = "truncated listing without a token"
    EMPTY_PAGE = "empty, valid page"
    PAGE_AGAIN = "page that came already"
    HTML = "HTML page with 200"
    NOT_FOUND = "HTML page with 404"
    FLIPPED = "flipped byte, somewhere"
    FLIPPED_SAME = "flipped byte, same place"
    NO_HOST = "DNS failure"


LISTINGS_ONLY = {
    Kind.CHANGING,
    Kind.TOKEN_REFUSED,
    Kind.NO_TOKEN,
    Kind.EMPTY_PAGE,
    Kind.PAGE_AGAIN,
}
LASTING = {Kind.FORBIDDEN, Kind.EXPIRED}
"""Faults that stay once they begin."""


@dataclass(slots=True)
class Plan:
    """A fault, its stage and its rate."""

    kind: Kind
    stage: Stage
    rate: float
    seed: int
    certain: str = ""
    """A key whose first request is always hit. Of listings, the second request always is."""
    expected: int = 1
    """Approximate number of requests of the stage, by which a lasting fault begins."""
    discovering: bool = False
    """Whether requests for objects are for footers at present."""
    hit: int = 0
    asked: int = 0
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stage_of(self, request: Request) -> Stage | None:
        """Return the stage that a request belongs to."""
        if request.is_listing:
            return Stage.LISTING
        if not request.is_object:
            return None
        if self.discovering:
            return Stage.FOOTER
        return Stage.RANGES if request.range else Stage.DATA

    def falls_on(self, request: Request) -> random.Random | None:
        """Return a random generator for the fault if a request is hit, ``None`` if not."""
        if self.stage_of(request) is not self.stage:
            return None
        with self._lock:
            name = f"{request.key}|{request.range}|{request.query.get('prefix')}"
            self._seen[name] += 1
            self.asked += 1
            turn, count = self._seen[name], self.asked
            if not self._is_hit(request, name, turn, count):
                return None
            self.hit += 1
        place = name if self.kind is Kind.FLIPPED_SAME else f"{name}|{turn}"
        return random.Random(f"{self.seed}|{place}")

    def _is_hit(self, request: Request, name: str, turn: int, count: int) -> bool:
        if self.kind in LASTING:
            return count > min(self.expected - 1, int(self.expected * (1 - self.rate)))
        first = (request.range or "bytes=0-").startswith("bytes=0-") or self.discovering
        chosen = request.key == self.certain and turn == 1 and first
        if chosen if request.key else count == 2:
            return True
        digest = hashlib.sha256(f"{self.seed}|{self.kind}|{name}|{turn}".encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64 < self.rate
