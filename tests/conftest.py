"""Fixtures for all tests, and a guard: compiled modules that are older than their sources would test yesterday's code."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to test stale compiled modules."""
    for source in (path for folder in ("gateway", "monitoring", "rollout") for path in (ROOT / folder).rglob("*.py")):
        for compiled in source.parent.glob(f"{source.stem}.*.so"):
            if compiled.stat().st_mtime < source.stat().st_mtime:
                pytest.exit(
                    f"{compiled.name} is older than {source}: run `make setup`, or `make pure` to go without", 3
                )
