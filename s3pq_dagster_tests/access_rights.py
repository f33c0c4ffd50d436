"""Running a program to which access rights apply, also where the tests run as root."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_RUN = """
import ctypes, os, sys
system = ctypes.CDLL(None)
if hasattr(system, "prctl"):
    for capability in (1, 2):
        system.prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Linux lets root read and write everything by CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH. Dropped
from the bounding set (PR_CAPBSET_DROP), they are not there in the program that follows. Other users
have neither; for them the call fails, and changes nothing."""


def run_with_rights(
    *command: str, env: Mapping[str, str], cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run a Python program that may do what the rights of files say, and return what it printed."""
    return subprocess.run(
        [sys.executable, "-c", _RUN, sys.executable, *command],
        env=dict(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
