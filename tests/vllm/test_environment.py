"""Where vLLM cannot run, `make e2e-vllm` says why and fails nothing."""

import platform
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.vllm import environment


@pytest.mark.parametrize(
    ("owner", "name", "value", "says"),
    [
        (platform, "machine", lambda: "sparc64", "Linux on x86_64"),
        (environment.sys, "version_info", (3, 14), "Python 3.11 and 3.12"),
        (shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30), "GiB of disk"),
        (environment, "MEMORY_GIB", 10**6, "GiB of memory"),
    ],
)
def test_it_says_why_it_cannot_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], owner: object, name: str,
    value: object, says: str,
) -> None:  # fmt: skip
    folder = tmp_path / "none"
    monkeypatch.setattr(environment, "DONE", folder / "installed")
    monkeypatch.setattr(environment, "FOLDER", folder)
    monkeypatch.setattr(environment, "_run", lambda *_: pytest.fail("nothing is installed where it cannot run"))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(environment.sys, "version_info", (3, 11))
    monkeypatch.setattr(owner, name, value)
    assert environment.main() == 0
    assert says in capsys.readouterr().out


def test_what_pip_says_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "FOLDER", tmp_path / "none")
    with pytest.raises(environment.CannotRun, match="no vLLM here: ERROR: no such thing"):
        environment._run("no vLLM here", 10, "sh", "-c", "echo WARNING: old; echo ERROR: no such thing >&2; exit 1")
