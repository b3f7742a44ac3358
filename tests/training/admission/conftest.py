"""A trained adapter of the tiny base, and an engine with that base in a thread of this process."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.engine.engine import Engine
from gateway.engine.server import Server, listen
from tests.training.quiet import Quiet
from training.fit import fit
from training.run_config import FitConfig


@pytest.fixture(scope="session")
def trained(tiny_base: Path, tiny_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has learned the letters."""
    values = {"data": tiny_rows, "out": tmp_path_factory.mktemp("adapters"), "name": "letters", "base": str(tiny_base)}
    more = {"rank": 8, "rate": 5e-3, "batch": 8, "epochs": 20, "threads": 1, "checkpoint_steps": 1000}
    return fit(FitConfig.model_validate(values | more), Quiet()).path


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of it, to be spoilt."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(trained, tmp_path / name))

    return copy


@pytest.fixture(scope="session")
def engine(tiny_base: Path) -> Iterator[str]:
    """A running engine's base URL."""
    listener = listen("127.0.0.1", 0)
    server = Server(Engine(str(tiny_base), name="tiny"), "openai")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline_s = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
