"""Polling a process until it is ready."""

import subprocess
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_result, wait_fixed
from tenacity.stop import stop_base

WAIT = wait_fixed(0.2)


def again_while(unwanted: Callable[[Any], bool], stop: stop_base) -> Retrying:
    """Poll five times a second while the answer is unwanted.

    Raises:
        tenacity.RetryError: ``stop`` came first.
    """
    return Retrying(retry=retry_if_result(unwanted), stop=stop, wait=WAIT)


class stop_when_ended(stop_base):  # noqa: N801 - named as tenacity's own are
    """Stop polling once the process has ended."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __call__(self, retry_state: RetryCallState) -> bool:  # noqa: ARG002 - tenacity's
        """Return whether the process has ended."""
        return self._process.poll() is not None
