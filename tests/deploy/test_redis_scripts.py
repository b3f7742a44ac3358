"""The scripts of overlays/redis-ha with real Redis and Sentinels, each pod in a network namespace of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.pods import KUBERNETES

HERE = Path(__file__).parent
APART = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_primary_is_followed_through_kills(tmp_path: Path) -> None:
    missing = [tool for tool in ("unshare", "ip", "redis-server", "redis-cli", "bash") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    if subprocess.run([*APART, "true"], capture_output=True, timeout=20).returncode != 0:
        pytest.skip("may not make network namespaces")
    command = [*APART, "bash", HERE / "three_pods.sh", KUBERNETES / "overlays" / "redis-ha", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    logs = "".join(path.read_text()[-2000:] for path in sorted(tmp_path.glob("*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    said = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert said["first_primary"] == "0"
    assert "NOAUTH" in said["without_password"]
    assert said["second_primary"] in ("1", "2")
    assert (said["kept"], said["copied"], said["still_kept"]) == ("first", "second", "second")
    # All came back at once: the one that was primary last is it again, not the one that is first by name.
    assert said["after_all_were_killed"] == "same"
