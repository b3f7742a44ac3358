"""`python -m tests.vllm.environment`: an environment with vLLM for the processor in `.venv-vllm`, or why there can be none.

vLLM pins what the project does not want pinned, so it lives apart. Everything comes from package registries and is named
in requirements.txt; nothing is resolved and nothing is built. Exits 0 either way: the tests skip with the same reason.
"""

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-vllm"
PYTHON = FOLDER / "bin" / "python"
DONE = FOLDER / "installed"
WANTED = Path(__file__).parent / "requirements.txt"
DISK_GIB, MEMORY_GIB = 5, 5
INSTALL_S, IMPORT_S = 1500, 900
SERVER = "vllm.entrypoints.openai.api_server"


class CannotRun(Exception):
    """Why vLLM cannot run on this machine."""


def environ() -> dict[str, str]:
    """For vLLM's processes; they are three, and import a second's worth of bytecode each instead of compiling it."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}


def ready() -> None:
    """Raise CannotRun unless the environment is there and there is memory for the server."""
    if not DONE.exists() or DONE.read_text() != WANTED.read_text():
        raise CannotRun("there is no environment with vLLM; `make e2e-vllm` makes one, or says why it cannot")
    _enough_memory()


def make() -> float:
    """Make the environment; return the seconds that it took. Raises CannotRun."""
    began = time.monotonic()
    _machine_fits()
    shutil.rmtree(FOLDER, ignore_errors=True)
    _run("the environment cannot be made", INSTALL_S, sys.executable, "-m", "venv", str(FOLDER))
    # Bytecode is left to the first import: most of these packages' modules are never imported.
    _run("vLLM is not to be had from the package registries that pip uses here", INSTALL_S, str(PYTHON), "-m", "pip",
         "install", "--quiet", "--no-deps", "--no-compile", "--requirement", str(WANTED))  # fmt: skip
    _run("vLLM does not start here", IMPORT_S, str(PYTHON), "-c", f"import {SERVER}")
    DONE.write_text(WANTED.read_text())
    return time.monotonic() - began


def _machine_fits() -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise CannotRun(f"vLLM is pinned for Linux on x86_64, and this is {sys.platform} on {platform.machine()}")
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        raise CannotRun(f"vLLM is pinned for Python 3.11 and 3.12, and this is {platform.python_version()}")
    if "avx2" not in Path("/proc/cpuinfo").read_text():
        raise CannotRun("vLLM needs a processor with AVX2")
    free_gib = shutil.disk_usage(ROOT).free / 2**30
    if free_gib < DISK_GIB:
        raise CannotRun(f"vLLM needs {DISK_GIB} GiB of disk while it is installed, and {free_gib:.1f} are free")
    _enough_memory()


def _enough_memory() -> None:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free_gib = int(lines["MemAvailable"].split()[0]) / 2**20
    if free_gib < MEMORY_GIB:
        raise CannotRun(f"vLLM with its base model needs {MEMORY_GIB} GiB of memory, and {free_gib:.1f} are free")


def _run(problem: str, most_s: float, *command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=most_s, env=environ(), check=False, cwd=FOLDER.parent
        )
    except subprocess.TimeoutExpired:
        raise CannotRun(f"{problem}: not within {most_s:.0f} s") from None
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("WARNING")]
        raise CannotRun(f"{problem}: {' '.join(said[-2:])[:500] or f'exit code {done.returncode}'}")


def size_mib() -> float:
    """What the environment takes on the disk."""
    return sum(file.lstat().st_blocks * 512 for file in FOLDER.rglob("*")) / 2**20


def main() -> int:
    """Make it unless it is there."""
    try:
        ready()
    except CannotRun:
        try:
            seconds = make()
        except CannotRun as error:
            print(f"vLLM is not tried here: {error}")
            return 0
        print(f"vLLM's environment took {seconds:.0f} s and {size_mib() / 1024:.1f} GiB ({FOLDER.name})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
