"""What a run was made on: said in every report, since figures of two machines must not be compared."""

import os
import platform
import time
from pathlib import Path

from graduand.gateway.dataplane import exchange


def machine() -> dict[str, str]:
    """The date, the machine, and whether the hot path is compiled."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": model,
        "cores": f"{os.cpu_count()}",
        "system": f"Linux {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        "hot path": "plain Python" if exchange.__file__.endswith(".py") else "compiled",
    }
