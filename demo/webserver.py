"""`dagster dev` as a child process, and requests to its GraphQL API."""

import json
import operator
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenacity import RetryError, stop_after_delay

from s3pq_dagster.dagster.names import SENSOR_NAME
from s3pq_dagster_tests.waiting import again_while, stop_when_ended

PROJECT = Path(__file__).parents[1]
_START_SECONDS = 120
_STOP_SECONDS = 30
_REPOSITORY = {
    "repositoryName": "__repository__",
    "repositoryLocationName": "s3pq_dagster.definitions",
}
_SENSOR = _REPOSITORY | {"sensorName": SENSOR_NAME}


class WebserverError(Exception):
    """`dagster dev` did not start, stopped, or refused a request."""


@dataclass(frozen=True, slots=True)
class Webserver:
    """A `dagster dev` that answers at ``url``."""

    url: str
    process: subprocess.Popen[bytes]

    def ask(self, query: str, **variables: Any) -> Any:
        """Send one GraphQL request and return its ``data``.

        Raises:
            WebserverError: The answer holds errors.
            OSError: The server does not answer.
        """
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                msg = f"{error}: {error.read(2000).decode(errors='replace')}"
            raise WebserverError(msg) from error
        if found.get("errors"):
            raise WebserverError(json.dumps(found["errors"], indent=2))
        return found["data"]

    def assets(self) -> list[list[str]]:
        """Return the asset keys of the code location; none while it loads."""
        nodes = self.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]
        return [node["assetKey"]["path"] for node in nodes]

    def wait(self, log: Path) -> list[list[str]]:
        """Wait until there are assets, and return them.

        Raises:
            WebserverError: None came in time, or the process ended. The message names ``log``.
        """

        def there() -> list[list[str]]:
            try:
                return self.assets()
            except OSError:
                return []  # not listening yet

        stop = stop_after_delay(_START_SECONDS) | stop_when_ended(self.process)
        try:
            found: list[list[str]] = again_while(operator.not_, stop)(there)
        except RetryError:
            msg = f"`dagster dev` shows no assets at {self.url}; its log is {log}"
            raise WebserverError(msg) from None
        return found

    def materialize(self, assets: list[list[str]]) -> str:
        """Launch a run of these assets; return its id."""
        return self._launch(assetSelection=[{"path": path} for path in assets])

    def check(self, asset: list[str], *names: str) -> str:
        """Launch a run of an asset's checks, and of nothing else; return its id."""
        checks = [{"assetKey": {"path": asset}, "name": name} for name in names]
        return self._launch(assetSelection=[], assetCheckSelection=checks)

    def checks(self, asset: list[str]) -> dict[str, dict[str, Any]]:
        """Return the last ``success`` and ``severity`` of an asset's checks, by name."""
        found = self.ask(
            "query ($it: AssetKeyInput!) { assetNodeOrError(assetKey: $it) { ... on AssetNode { "
            "assetChecksOrError { ... on AssetChecks { checks { name "
            "executionForLatestMaterialization { evaluation { success severity } } } } } } } }",
            it={"path": asset},
        )
        executions = {
            check["name"]: check["executionForLatestMaterialization"]
            for check in found["assetNodeOrError"]["assetChecksOrError"]["checks"]
        }
        return {
            name: run["evaluation"] for name, run in executions.items() if run and run["evaluation"]
        }

    def _launch(self, **selection: Any) -> str:
        job = _REPOSITORY | {"jobName": "__ASSET_JOB"} | selection
        done = self._do(
            "mutation ($it: ExecutionParams!) { launchRun(executionParams: $it) { __typename "
            "... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
            it={"selector": job, "mode": "default"},
            expected="LaunchRunSuccess",
        )
        return str(done["run"]["runId"])

    def start_sensor(self) -> None:
        """Turn the sensor on; its first tick comes within seconds."""
        self._do(
            "mutation ($it: SensorSelector!) { startSensor(sensorSelector: $it) { __typename "
            "... on PythonError { message } } }",
            it=_SENSOR,
            expected="Sensor",
        )

    def preview_tick(self) -> dict[str, Any]:
        """Evaluate the sensor in its code server, without launching runs.

        Returns:
            ``skipReason`` and ``runRequests`` of the tick.
        """
        done = self._do(
            "mutation ($it: SensorSelector!) { sensorDryRun(selectorData: $it, cursor: null) "
            "{ __typename ... on PythonError { message } ... on DryRunInstigationTick "
            "{ evaluationResult { skipReason runRequests { runKey } } } } }",
            it=_SENSOR,
            expected="DryRunInstigationTick",
        )
        result: dict[str, Any] = done["evaluationResult"]
        return result

    def runs(self) -> list[dict[str, Any]]:
        """List the runs, the newest first: ``runId``, ``status``, ``tags``, ``assetSelection``."""
        found = self.ask(
            "{ runsOrError { ... on Runs { results "
            "{ runId status tags { key value } assetSelection { path } } } } }"
        )
        runs: list[dict[str, Any]] = found["runsOrError"]["results"]
        return runs

    def finished(self, run_id: str, *, timeout_seconds: float = 240) -> str:
        """Wait for a run to end; return its status."""

        def status() -> str:
            return next(str(run["status"]) for run in self.runs() if run["runId"] == run_id)

        def goes_on(status: str) -> bool:
            return status not in ("SUCCESS", "FAILURE", "CANCELED")

        try:
            return again_while(goes_on, stop_after_delay(timeout_seconds))(status)
        except RetryError:
            msg = f"run {run_id} has not ended after {timeout_seconds} s"
            raise WebserverError(msg) from None

    def _do(self, mutation: str, *, expected: str, **variables: Any) -> Any:
        (done,) = self.ask(mutation, **variables).values()
        if done["__typename"] != expected:
            msg = f"{done['__typename']}: {done.get('message', 'no reason given')}"
            raise WebserverError(msg)
        return done


@contextmanager
def dagster_dev(
    port: int, environment: Mapping[str, str], log: Path, *, workspace: Path | None = None
) -> Iterator[Webserver]:
    """Run `dagster dev` until the block ends; yield once the code location has its assets.

    Args:
        port: The port on 127.0.0.1 to listen on.
        environment: The process's environment, with ``DAGSTER_HOME`` and ``S3PQ_*``.
        log: The file that the output is appended to.
        workspace: The workspace file; by default the project's ``workspace.yaml``.

    Raises:
        WebserverError: It stops, or shows no assets within two minutes.
    """
    workspace = workspace or PROJECT / "workspace.yaml"
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]
    # Children inherit an ignored SIGINT, and `dagster dev` then ignores it for good. In a session
    # of its own it is stopped here alone, before the bucket it reads from.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "-w", str(workspace)],
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        webserver = Webserver(f"http://127.0.0.1:{port}", process)
        webserver.wait(log)
        yield webserver
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
