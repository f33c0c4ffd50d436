"""Fixtures that all tests share: S3 servers, buckets, a Dagster instance."""

import functools
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from moto.server import ThreadedMotoServer

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.examples import load_profile
from s3pq_dagster_tests.levels import mark_all_but_first_cases
from s3pq_dagster_tests.proxy import Proxy
from s3pq_dagster_tests.read_once import read_once
from s3pq_dagster_tests.servers import admin_client, seaweedfs, use_credentials

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that select tests marked ``thorough`` or ``nightly``."""
    parser.addoption("--thorough", action="store_true", help="also run the tests that take long")
    parser.addoption("--nightly", action="store_true", help="run every test")


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples Hypothesis tries, before tests are imported."""
    load_profile(thorough=config.getoption("--thorough") or config.getoption("--nightly"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect ``thorough`` and ``nightly`` tests unless their option is given."""
    mark_all_but_first_cases(items)
    if config.getoption("--nightly"):
        return
    names = ["nightly"] if config.getoption("--thorough") else ["nightly", "thorough"]

    def is_left_out(item: pytest.Item) -> bool:
        return any(map(item.get_closest_marker, names))

    config.hook.pytest_deselected(items=[item for item in items if is_left_out(item)])
    items[:] = [item for item in items if not is_left_out(item)]


_client = functools.cache(admin_client)


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the user's AWS files, Dagster home and credentials from the tests."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(home / "aws-config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "aws-credentials"))
        patch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
        for name in ("DAGSTER_HOME", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        use_credentials()
        read_once(patch)
        yield


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Run a moto server for the session and return its endpoint URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run SeaweedFS, which checks signatures, for the session and return its endpoint URL."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(moto: str) -> Iterator[Bucket]:
    """Make an empty bucket on moto, behind a proxy that counts requests."""
    yield from _bucket_on(moto)


@pytest.fixture
def weed_bucket(weed: str) -> Iterator[Bucket]:
    """Make an empty bucket on SeaweedFS, behind a proxy that counts requests."""
    yield from _bucket_on(weed)


def _bucket_on(endpoint: str) -> Iterator[Bucket]:
    client = _client(endpoint)
    name = f"lake-{next(_numbers)}"
    client.create_bucket(Bucket=name)
    with Proxy(endpoint) as proxy:
        yield Bucket(name, client, proxy)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Make a Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return the path of a DuckDB file that does not exist yet."""
    return tmp_path / "lake.duckdb"
