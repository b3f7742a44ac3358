"""The scripts of overlays/redis-ha with real Redis and Sentinels, each pod in a network namespace of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.pods import KUBERNETES, REPOSITORY

OVERLAY = KUBERNETES / "overlays" / "redis-ha"
HERE = Path(__file__).parent
# The gateway's own client, with the address of the overlay's configuration.
CLIENT = """
import sys
from graduand.gateway.state.redis_client import connect
print(connect(sys.argv[1], "sesame").get(sys.argv[2]).decode())
"""
APART = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_primary_is_followed_through_kills(tmp_path: Path) -> None:
    missing = [tool for tool in ("unshare", "ip", "redis-server", "redis-cli", "bash") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    if subprocess.run([*APART, "true"], capture_output=True, timeout=20).returncode != 0:
        pytest.skip("may not make network namespaces")
    address = yaml.safe_load((OVERLAY / "gateway.yaml").read_text())["state"]
    client = [sys.executable, "-c", CLIENT, address]
    command = [*APART, "bash", HERE / "three_pods.sh", OVERLAY, tmp_path, *client]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environ)
    logs = "".join(path.read_text()[-2000:] for path in sorted(tmp_path.glob("*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    said = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert said["first_primary"] == "0"
    assert "NOAUTH" in said["without_password"]
    assert said["second_primary"] in ("1", "2")
    assert (said["kept"], said["copied"], said["still_kept"]) == ("first", "second", "second")
    assert (said["gateway_sees"], said["gateway_sees_at_last"]) == ("first", "third")
    # All came back at once: the one that was primary last is it again, not the one that is first by name.
    assert said["after_all_were_killed"] == "same"
