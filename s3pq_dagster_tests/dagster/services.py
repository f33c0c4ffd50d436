"""Dagster's services as processes of their own: code server, webserver, daemon."""

import operator
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenacity import stop_after_delay

from demo.webserver import Webserver
from s3pq_dagster_tests.command_line import DAGSTER
from s3pq_dagster_tests.servers import free_port
from s3pq_dagster_tests.waiting import again_while, stop_when_ended

_START_SECONDS = 90
_STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Services:
    """What the services have in common."""

    home: Path
    environ: Mapping[str, str]

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a service until the block ends; its output is in ``services.log``."""
        # Children inherit an ignored SIGINT, and Dagster's servers then ignore it for good.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with (self.home / "services.log").open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=self.home,
                env=dict(self.environ),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @contextmanager
    def code_server(
        self, *target: str, kind: Sequence[str] = ("code-server", "start")
    ) -> Iterator[int]:
        """Run a code server; yield its port once it listens."""
        port = free_port()
        place = ("-h", "127.0.0.1", "-p", str(port))
        with self.running(*DAGSTER, *kind, *place, *target) as process:
            stop = stop_after_delay(_START_SECONDS) | stop_when_ended(process)
            again_while(operator.not_, stop)(lambda: _listens(port))
            yield port

    @contextmanager
    def webserver_and_daemon(self, load_from: str, port: int) -> Iterator[Webserver]:
        """Run both on a workspace; yield the webserver once there are assets."""
        workspace = self.home / "workspace.yaml"
        workspace.write_text(f"load_from:\n  - {load_from}\n")
        asked = ("-w", str(workspace))
        place = ("-h", "127.0.0.1", "-p", str(port))
        daemon = str(Path(sys.executable).parent / "dagster-daemon")
        with ExitStack() as stack:
            process = stack.enter_context(
                self.running(sys.executable, "-m", "dagster_webserver", *place, *asked)
            )
            stack.enter_context(self.running(daemon, "run", *asked))
            webserver = Webserver(f"http://127.0.0.1:{port}", process)
            webserver.wait(self.home / "services.log")
            yield webserver


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
