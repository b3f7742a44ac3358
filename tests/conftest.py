"""For all tests: a guard against compiled modules that are older than their sources, which would test yesterday's code; one
thread for torch in each of several test processes, which would otherwise wait for each other's; and nothing is compiled or looked
through by the garbage collector again and again.
"""

import gc
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported


# What Python has compiled is kept (beside the sources, where git ignores it) even if the environment says otherwise: a gateway
# is six processes, and each would compile the whole package again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to test stale compiled modules."""
    for source in (path for folder in ("gateway", "monitoring", "rollout") for path in (ROOT / folder).rglob("*.py")):
        for compiled in source.parent.glob(f"{source.stem}.*.so"):
            if compiled.stat().st_mtime < source.stat().st_mtime:
                pytest.exit(
                    f"{compiled.name} is older than {source}: run `make setup`, or `make pure` to go without", 3
                )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Set aside what there is: all modules and all tests, which stay to the end."""
    gc.collect()
    gc.freeze()
