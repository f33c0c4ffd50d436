"""Which part of which object may be fetched next: in order, within bounds of requests and bytes."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from s3pq_dagster.errors import DiskError, MalformedObjectError
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.object_bytes import LEAST_COST, ObjectBytes, Part
from s3pq_dagster.reading.spool import Spool
from s3pq_dagster.spec import S3ParquetSpec

_MOST_SPOOLED = 2
"""Large objects on disk at a time: one being read, one being fetched."""


@dataclass(slots=True, eq=False)
class _Unbegun:
    """The parts of an admitted object that are not begun yet; at least one."""

    fetched: ObjectBytes
    part_bytes: int
    left: int
    """How many there are."""
    start: int = 0
    """First byte of the next one."""

    @property
    def first(self) -> Part:
        return self.fetched.part_at(self.start, self.part_bytes)

    def begin(self) -> None:
        """Count the first as begun."""
        self.start += self.part_bytes
        self.left -= 1


class Admission:
    """A queue of objects, and counts of what is under way and held.

    Not safe to use from several threads: the fetcher holds its lock when it calls.
    """

    def __init__(self, objects: Iterable[ObjectMeta], spec: S3ParquetSpec, shares: int) -> None:
        """Start with nothing under way.

        Args:
            objects: What to fetch, in this order; consumed as needed.
            spec: The bounds.
            shares: How many fetchers share the bounds.
        """
        most = max(1, spec.max_bytes_in_flight // LEAST_COST)
        self.threads = min(spec.concurrency, most) if spec.concurrency > 0 else most
        """Requests that all fetchers which share the bounds may have under way together."""
        self.takes_large = False
        """Whether large objects are admitted, each of which makes a temporary file."""
        self.admitted: deque[ObjectBytes] = deque()
        """Objects that are being fetched, or fetched and not handed out yet, in order."""
        self._objects = iter(objects)
        self._unbegun: deque[_Unbegun] = deque()
        """What is not begun yet of admitted objects, in order.

        Counted and not listed: there may be millions of parts, or as many as a listing lies."""
        self._spec = spec
        self._requests = self._held = self._spooled = 0
        self.set_shares(shares)

    def set_shares(self, shares: int) -> None:
        """Divide the bounds of bytes and requests by a number of fetchers."""
        self._max_bytes = max(1, self._spec.max_bytes_in_flight // shares)
        self._max_requests = max(1, self.threads // shares)

    def next_part(self) -> Part | None:
        """Begin the next part, or return ``None`` if there is none or the bounds are reached."""
        if self._requests >= self._max_requests or (part := self._first_part()) is None:
            return None
        # This cannot hang: parts begin in the order of their objects, and the consumer waits only
        # for the first object. If others hold all bytes, because the first was overwritten and is
        # fetched again, or the consumer keeps what it took, one part of it exceeds the bound.
        # Each table's fetcher has its own share, so a table that fails keeps bytes from no other.
        is_waited_for = part.fetched is self.admitted[0] and not part.fetched.in_flight
        if self._held and self._held + part.cost > self._max_bytes and not is_waited_for:
            return None
        self._unbegun[0].begin()
        if not self._unbegun[0].left:
            self._unbegun.popleft()
        self._requests += 1
        self._held += part.cost
        part.fetched.in_flight += 1
        return part

    def end_part(self, part: Part) -> None:
        """Count a part as fetched; the bytes of a small object count on until it is freed."""
        fetched = part.fetched
        is_kept = fetched.spool is None and fetched.error is None
        fetched.held = part.cost if is_kept else 0
        self._held -= part.cost - fetched.held
        self._requests -= 1
        fetched.in_flight -= 1
        fetched.parts_left -= 1
        if fetched.error is not None:
            self._drop_parts(fetched)

    def _drop_parts(self, fetched: ObjectBytes) -> None:
        """Begin nothing more of an object that failed."""
        for unbegun in [each for each in self._unbegun if each.fetched is fetched]:
            fetched.parts_left -= unbegun.left
            self._unbegun.remove(unbegun)

    def prepare(self, found: ObjectMeta) -> ObjectBytes:
        """Make what an object is fetched into; the temporary file of a large one may fail.

        An object of a size that none can have is malformed, and nothing of it is fetched.
        """
        if (fault := found.size_fault) is not None:
            return ObjectBytes(found, error=MalformedObjectError(found.key, fault))
        if self._is_small(found):
            return ObjectBytes(found, is_early=not self.takes_large)
        try:
            spool = Spool(found)
        except DiskError as error:
            return ObjectBytes(found, error=error)
        self._spooled += 1
        return ObjectBytes(found, spool=spool)

    def replace_first(self, again: ObjectBytes) -> None:
        """Put an object in the place of the first, and its parts before all others."""
        self.admitted[0] = again
        self._unbegun.extendleft(self._parts_of(again))

    def free(self, fetched: ObjectBytes) -> None:
        """Drop an object's bytes, and count them no longer."""
        self._held -= fetched.held
        fetched.held = 0
        self._spooled -= fetched.spool is not None
        fetched.free()

    @property
    def is_first_here(self) -> bool:
        """Whether nothing of the first object is under way, or there is none."""
        return not (self.admitted and self.admitted[0].parts_left)

    def stop(self) -> None:
        """Begin nothing more."""
        self._unbegun.clear()
        self._objects = iter(())

    def _first_part(self) -> Part | None:
        while not self._unbegun:
            found = next(self._objects, None) if self._spooled < _MOST_SPOOLED else None
            if found is None:
                return None
            if not (self.takes_large or self._is_small(found)):
                self._objects = chain([found], self._objects)
                return None
            fetched = self.prepare(found)
            self.admitted.append(fetched)
            self._unbegun.extend(self._parts_of(fetched))
        return self._unbegun[0].first

    def _is_small(self, found: ObjectMeta) -> bool:
        return found.size <= self._spec.max_object_bytes_in_memory

    def _parts_of(self, fetched: ObjectBytes) -> list[_Unbegun]:
        """Count an object's parts, and return them if there are any."""
        part_bytes = self._spec.max_object_bytes_in_memory
        count = fetched.size_in_parts(part_bytes)
        fetched.parts_left = count + (fetched.spool is not None)  # the check of its MD5
        return [_Unbegun(fetched, part_bytes, count)] if count else []
