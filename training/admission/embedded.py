"""Starts an embedded engine for the time of an admission, if no other engine is named."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx

from graduand.gateway import address
from graduand.gateway.errors import AdapterError

START_S = 300.0
END_S = 10.0


@contextlib.contextmanager
def engine(model: str) -> Iterator[str]:
    """The base URL of a `graduand engine` with this base; the engine ends with the block."""
    with address.bind("127.0.0.1", 0, "the engine") as probe:
        where = address.show(probe)
    command = [sys.executable, "-m", "graduand", "engine", "--model", model, "--listen", where, "--threads", "1"]
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}}
    with subprocess.Popen(command, **quiet) as process:  # type: ignore[call-overload]
        try:
            _wait(process, where)
            yield f"http://{where}/v1"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            process.kill()


def _wait(process: "subprocess.Popen[bytes]", where: str) -> None:
    deadline_s = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            if httpx.get(f"http://{where}/health", timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AdapterError("the embedded engine for the admission did not start; name a running one with --engine URL")
