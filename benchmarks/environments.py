"""Programs that the benchmark needs: found, or installed into `.bench/`, each peer in an environment of its own.

Invariant: nothing is installed into the environment that runs the benchmark. What cannot be had raises Unavailable with
the reason, which the report shows in the place of figures.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from graduand.gateway.errors import GraduandError

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / ".bench"
INSTALL_TIMEOUT_S = 900


class Unavailable(GraduandError, RuntimeError):
    """A program or peer cannot be installed or started here."""


def program(name: str) -> str:
    """The path of a system program, installed with apt when we may; raise Unavailable otherwise."""
    places = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    if found := shutil.which(name, path=places):
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"{name} is not installed; install it with the system's package manager")
    print(f"installing {name} …", flush=True)
    _run(["apt-get", "update", "-qq"])
    _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", name])
    if found := shutil.which(name, path=places):
        return found
    raise Unavailable(f"{name} was installed but is not on PATH")


def environment(name: str, requirements: tuple[str, ...]) -> Path:
    """The `bin` folder of a virtual environment that holds exactly `requirements` and what they need."""
    folder = BENCH / name
    stamp = folder / "installed.txt"
    wanted = "\n".join((str(folder), *requirements))  # an environment that was moved does not run
    if stamp.is_file() and stamp.read_text() == wanted:
        return folder / "bin"
    print(f"installing {' '.join(requirements)} …", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    _run([str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *requirements])
    stamp.write_text(wanted)  # last, so that an interrupted installation is begun again
    return folder / "bin"


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"`{' '.join(command[:3])} …` failed: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")] or ["no message"]
        raise Unavailable(f"`{Path(command[0]).name} {command[1]} …` failed: {lines[-1][:200]}")
