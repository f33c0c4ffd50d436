"""A tick that finds tables which the definitions lack, and what it says of a reload."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from tenacity import stop_after_delay

from s3pq_dagster.dagster.code_location import WebserverAddress
from s3pq_dagster.dagster.new_tables import Reloads
from s3pq_dagster.dagster.reload_times import ReloadTimes
from s3pq_dagster.errors import ConfigurationError
from s3pq_dagster_tests.command_line import environment
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.servers import free_port
from s3pq_dagster_tests.waiting import again_while

pytestmark = pytest.mark.filterwarnings(  # of Dagster's own client about gql
    "ignore:Using variable_values and operation_name:DeprecationWarning"
)
ORIGIN = SimpleNamespace(location_name="lake.py")
"""A code location whose server has no address: each process of Dagster's has its own."""
LOADED = {"__typename": "WorkspaceLocationEntry", "locationOrLoadError": {}}


@contextmanager
def webserver(answer: Any, status: int = 200) -> Iterator[str]:
    """Run a server that gives each request one answer; return its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=[0.01], daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def reloaded(result: dict[str, Any]) -> dict[str, Any]:
    """Return a webserver's answer to the request to reload."""
    return {"data": {"reloadRepositoryLocation": result}}


def said(url: str | None, times: ReloadTimes | None = None, **options: Any) -> str:
    """Return what a tick says of one new table."""
    reloads = Reloads(None if url is None else WebserverAddress.of(url), **options)
    told = reloads.told(ORIGIN, ["new"], times or ReloadTimes(), begun=time.monotonic())
    return str(told)


def test_a_webserver_reloads_and_the_tick_says_so() -> None:
    """The state is refreshed first, and the cursor remembers the reload."""
    refreshed, times = list[str](), ReloadTimes()
    done = LOADED | {"locationOrLoadError": {"__typename": "RepositoryLocation"}}
    with webserver(reloaded(done)) as url:
        told = said(url, times, refresh=lambda: refreshed.append("once"))
    assert told.startswith("the code location was reloaded in ")
    assert told.endswith(
        "s, the next tick after the daemon's own reload, within a minute, loads them"
    )
    assert refreshed == ["once"]
    assert times.attempts == 1


@pytest.mark.parametrize(
    ("answer", "status", "expected"),
    [
        (
            reloaded({"__typename": "RepositoryLocationNotFound", "message": "no lake.py"}),
            200,
            "did not reload it: RepositoryLocationNotFound: no lake.py",
        ),
        (
            reloaded(
                LOADED | {"locationOrLoadError": {"__typename": "PythonError", "message": "a\nb"}}
            ),
            200,
            "did not reload it: PythonError: a b",
        ),
        (b"<html>", 404, "no Dagster webserver answers at webserver_url http://127.0.0.1"),
        (b"<html>", 200, "no Dagster webserver answers at webserver_url http://127.0.0.1"),
        ({"errors": [{"message": "no"}]}, 200, "no Dagster webserver answers at webserver_url"),
        ([], 200, "no Dagster webserver answers at webserver_url"),
    ],
)
def test_what_a_webserver_answers_instead_is_told(answer: Any, status: int, expected: str) -> None:
    """Another location's webserver, broken definitions, or no Dagster at all."""
    with webserver(answer, status) as url:
        told = said(url)
    assert told.startswith("reloading the code location failed: ")
    assert expected in told
    assert len(told) < 600


def test_where_nothing_listens_the_url_is_told() -> None:
    """A wrong port has its own message."""
    url = f"http://127.0.0.1:{free_port()}"
    assert f"no Dagster webserver answers at webserver_url {url}: " in said(url)


@pytest.mark.first_case
@pytest.mark.parametrize(
    "url", ["127.0.0.1:3000", "ftp://h", "http://", "http://h:x", "", "http://[h"]
)
def test_what_is_no_address_is_refused_at_once(lake: Lake, url: str) -> None:
    """The definitions do not load, and the message has an example."""
    lake.options["webserver_url"] = url
    with pytest.raises(ConfigurationError, match=r"such as http://127\.0\.0\.1:3000, got '"):
        lake.definitions()


def test_a_password_in_the_address_is_refused_and_not_repeated(lake: Lake) -> None:
    """The UI shows it otherwise."""
    lake.options["webserver_url"] = "https://me:s3cret@dagster.lan/"
    with pytest.raises(ConfigurationError, match="a user or a password") as caught:
        lake.definitions()
    assert "s3cret" not in str(caught.value)


def test_without_a_way_to_reload_the_tick_says_why() -> None:
    """Neither an address of the code server nor a webserver: nothing counts as asked for."""
    times = ReloadTimes()
    told = said(None, times)
    assert told.startswith("reload the code location: its code server cannot be asked: start it by")
    assert times == ReloadTimes()


def test_a_refresh_that_fails_is_told_and_no_reload_follows() -> None:
    """What S3 said is in the tick; the next one says when it is tried again."""

    def fail() -> None:
        raise OSError(13, "Permission denied")

    url = f"http://127.0.0.1:{free_port()}"
    reloads, times = Reloads(WebserverAddress.of(url), fail), ReloadTimes()
    told = reloads.told(ORIGIN, ["new"], times, begun=time.monotonic())
    failure = "PermissionError: [Errno 13] Permission denied"
    assert told == f"reloading the code location failed: {failure}"
    told = reloads.told(ORIGIN, ["new"], times, begun=time.monotonic())
    assert told is not None
    assert told.startswith(f"still not there after 1 reload ({failure}), next one in ")


def test_a_cursor_that_is_lost_brings_no_second_reload_within_a_minute() -> None:
    """The process remembers, too."""
    calls, url = list[int](), f"http://127.0.0.1:{free_port()}"
    reloads = Reloads(WebserverAddress.of(url), lambda: calls.append(1))
    for _ in range(3):
        told = reloads.told(ORIGIN, ["new"], ReloadTimes(), begun=time.monotonic())
    assert told is not None
    assert told.startswith("the code location is asked to reload in ")
    assert len(calls) == 1


def test_a_table_that_no_reload_brings_is_told_with_its_reloads() -> None:
    """A minute after the second reload in vain, the third one comes in another minute."""
    times, now = ReloadTimes(), time.time()
    for before in (180, 60):
        times.ask(["new"], now - before)
    told = said(f"http://127.0.0.1:{free_port()}", times)
    assert told.startswith("still not there after 2 reloads, next one in ")


def test_a_tick_does_not_wait_for_a_slow_reload_and_the_next_does_not_ask_again() -> None:
    """A tick that has used up its time ends; later ones say that the reload goes on, then how."""
    go_on, calls = Event(), list[int]()

    def slow() -> None:
        calls.append(1)
        go_on.wait(30)

    url = f"http://127.0.0.1:{free_port()}"
    reloads, times = Reloads(WebserverAddress.of(url), slow), ReloadTimes()

    def told() -> str:
        return str(reloads.told(ORIGIN, ["new"], times, begun=time.monotonic() - 60))

    for _ in range(2):
        assert told().startswith("the code location has been reloading for ")
    go_on.set()
    ended: Callable[[str], bool] = lambda text: "has been" in text  # noqa: E731 - a name for it
    assert "no Dagster webserver" in again_while(ended, stop_after_delay(10))(told)
    assert calls == [1]


def test_a_tick_in_which_nothing_can_reload_goes_on_and_keeps_its_cursor(lake: Lake) -> None:
    """The known table is asked for, and the text names the new one with the reason."""
    lake.bucket.put("old/1.parquet", 1)
    lake.options["reload_for_new_tables"] = True
    definitions = lake.definitions()
    first = lake.tick(definitions=definitions)
    assert lake.run(definitions=definitions).success
    lake.bucket.put("new/1.parquet", 1)
    tick = lake.tick(first.cursor, definitions=definitions)
    why = "reload the code location: this tick knows of no code location"
    assert str(tick.skip_message).startswith(f"not loaded: not in the definitions yet, {why}: new")
    assert json.loads(tick.cursor)["tables"] == {}


@pytest.mark.thorough
def test_variables_say_it_of_the_default_code_location(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are no fields of the spec; one that is neither true nor false is named."""
    lake.bucket.put("old/1.parquet", 1)
    for name, value in environment(lake.bucket, lake.database.parent).items():
        monkeypatch.setenv(name, value)
    made = import_module("s3pq_dagster.definitions").definitions_from
    environ = {name: value for name, value in os.environ.items() if name.startswith("S3PQ_")}

    def told(**variables: str) -> str:
        definitions = made(environ | variables)
        lake.bucket.put("new/1.parquet", 1)
        assert lake.run("old", definitions=definitions).success
        message = str(lake.tick(definitions=definitions).skip_message)
        lake.bucket.delete("new/1.parquet")
        return message

    plain, asks = "not in the definitions yet, reload the code location: new", "this tick knows of"
    assert plain in told(S3PQ_WEBSERVER_URL="http://127.0.0.1:3000")
    assert plain in told(S3PQ_RELOAD_FOR_NEW_TABLES="false")
    assert asks in told(S3PQ_RELOAD_FOR_NEW_TABLES="true", S3PQ_WEBSERVER_URL="")
    with pytest.raises(ConfigurationError, match="S3PQ_RELOAD_FOR_NEW_TABLES is `true` or `false`"):
        made(environ | {"S3PQ_RELOAD_FOR_NEW_TABLES": "perhaps"})
    with pytest.raises(ConfigurationError, match="webserver_url is the address of Dagster's UI"):
        made(environ | {"S3PQ_WEBSERVER_URL": "dagster.lan"})
    with pytest.raises(ConfigurationError, match=r"known: .*, S3PQ_WEBSERVER_URL$"):
        made(environ | {"S3PQ_RELOAD": "true"})
