"""The bucket on which a day is played: events become requests, moments become stamps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from s3pq_dagster_tests.arrivals.plan import Content, Day, Event, Form, table_of
from s3pq_dagster_tests.buckets import Bucket

MORNING = datetime(2024, 2, 14, tzinfo=UTC)
"""When the day begins."""


@dataclass
class Stage:
    """A bucket, and the events of the day that have happened in it."""

    bucket: Bucket
    day: Day
    there: dict[str, Content] = field(default_factory=dict)
    """What is in the bucket now, by the plan."""
    e_tags: dict[tuple[str, Content], str] = field(default_factory=dict)
    """The server's metadata of each version."""
    _done: int = 0
    _ahead: set[int] = field(default_factory=set)
    """Events that happened before others that were due earlier, in another table."""

    def advance(self, moment: int, table: str | None = None) -> None:
        """Let every event happen, of all tables or one, that is visible at a moment."""
        number = self._done
        while number < len(self.day.events) and self.day.events[number].at <= moment:
            event = self.day.events[number]
            if number not in self._ahead and table in (None, event.table):
                self._happen(event)
                self._ahead.add(number)
            number += 1
        while self._done in self._ahead:
            self._ahead.remove(self._done)
            self._done += 1

    def of(self, table: str) -> Mapping[str, Content]:
        """Return what is in the bucket of one table now."""
        return {key: content for key, content in self.there.items() if table_of(key) == table}

    def tables(self) -> dict[str, dict[str, Content]]:
        """Return what is in the bucket now, by table."""
        found: dict[str, dict[str, Content]] = {}
        for key, content in self.there.items():
            found.setdefault(table_of(key), {})[key] = content
        return found

    def _happen(self, event: Event) -> None:
        if event.content is None:
            self.bucket.delete(event.key)
            self.there.pop(event.key, None)
            return
        put: Callable[[str, bytes], str] = self._put
        if event.content.form is Form.MULTIPART:
            put = self._upload
        e_tag = put(event.key, event.content.body)
        self.bucket.set_last_modified(event.key, MORNING + timedelta(seconds=event.stamp))
        self.there[event.key] = event.content
        self.e_tags[event.key, event.content] = e_tag.strip('"')

    def _put(self, key: str, body: bytes) -> str:
        answer = self.bucket.client.put_object(Bucket=self.bucket.name, Key=key, Body=body)
        return str(answer["ETag"])

    def _upload(self, key: str, body: bytes) -> str:
        client, to = self.bucket.client, {"Bucket": self.bucket.name, "Key": key}
        to["UploadId"] = client.create_multipart_upload(**to)["UploadId"]
        part = client.upload_part(**to, PartNumber=1, Body=body)
        parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
        done = client.complete_multipart_upload(**to, MultipartUpload={"Parts": parts})
        return str(done["ETag"])
