"""Asking processes again until they are where they are waited for."""

import subprocess
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_result, wait_fixed
from tenacity.stop import stop_base

WAIT = wait_fixed(0.2)


def again_while(unwanted: Callable[[Any], bool], stop: stop_base) -> Retrying:
    """Ask again, five times a second, while the answer is not what is waited for.

    Raises:
        tenacity.RetryError: It stopped before.
    """
    return Retrying(retry=retry_if_result(unwanted), stop=stop, wait=WAIT)


class stop_when_ended(stop_base):  # noqa: N801 - named as tenacity's own are
    """Stop asking a process that has ended."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __call__(self, retry_state: RetryCallState) -> bool:  # noqa: ARG002 - tenacity's
        """Tell whether it has."""
        return self._process.poll() is not None
