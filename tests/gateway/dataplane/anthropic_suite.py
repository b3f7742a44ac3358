"""anthropic-sdk-python's own tests of messages, pointed at the gateway over a stand-in for Claude.

`python -m tests.gateway.dataplane.anthropic_suite CHECKOUT` takes a clone of https://github.com/anthropics/anthropic-sdk-python
and runs its tests with its own source, in this Python, which needs what that repository's tests import (pytest-asyncio, respx,
http-snapshot, inline-snapshot, aiohttp, httpx-aiohttp). It prints what passed, and each failure; it ends with 1 if there is one.
Nothing of the checkout is copied.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graduand.gateway.model.routes import Route, Teacher, Unit
from tests.gateway import claude
from tests.gateway.dataplane.inprocess import serving, upstream
from tests.gateway.dataplane.openai_suite import OUTCOMES, outcomes
from tests.gateway.upstream import Upstream

FILES = ("test_messages.py", "beta/test_messages.py")


@contextmanager
def gateway(names: set[str]) -> Iterator[int]:
    """The port of a data plane with a route for each of these models."""
    stand_in = Upstream()
    place = stand_in.place("stand-in", claude.says())
    routes = [Route(name, Teacher("t", name), None, "teacher", 0, Unit(("user",))) for name in sorted(names)]
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(Path(folder), [upstream("t", "anthropic", place.url + "/v1")], routes) as port,
        ):
            yield port
    finally:
        stand_in.close()


def run(checkout: Path, report: Path) -> None:
    """Run the suite, writing its results to `report` in JUnit's form."""
    files = [checkout / "tests" / "api_resources" / name for name in FILES]
    named = [*files, *checkout.glob("src/anthropic/resources/messages/messages.py")]  # old ones it warns of
    names = {name for file in named for name in re.findall(r'"(claude-[\w.-]+)"', file.read_text())}
    with gateway(names) as port:
        environ = {
            **os.environ, "TEST_API_BASE_URL": f"http://127.0.0.1:{port}",
            "PYTHONPATH": os.pathsep.join([str(checkout / "src"), str(checkout), os.environ.get("PYTHONPATH", "")]),
        }  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", "-n", "0", "--override-ini", "addopts=",
             "-k", "not batches", f"--junitxml={report}", *map(str, files)],
            cwd=checkout, env=environ, check=False, stdout=subprocess.DEVNULL,
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    checkout = parser.parse_args().checkout.resolve()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        run(checkout, report)
        found = list(outcomes(report))
    counts = Counter(outcome for _, _, outcome in found)
    print("\n" + ", ".join(f"{counts[one]} {one}" for one in OUTCOMES))
    bad = [(file, test) for file, test, outcome in found if outcome in ("failure", "error")]
    for file, test in bad:
        print(f"FAILED: {file}: {test}")
    return 1 if bad or not found else 0


if __name__ == "__main__":
    sys.exit(main())
