"""Stages: named by what they are a function of, whole or absent, resumed, and never silently stale."""

import fcntl
import json
from pathlib import Path
from types import ModuleType

import pytest

from graduand.gateway.errors import ConfigError
from graduand.training import review
from graduand.training.data import labels
from graduand.training.review import disputes, page, review_stage, sheet
from graduand.training.stages import stage
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Made, Outcome, Plan, StageError, made_by, run, verified
from tests.training.quiet import Quiet


def plan(source: Path, name: str = "double", code: tuple[ModuleType, ...] = (), **parameters: object) -> Plan:
    return Plan(name, {"data": source}, {"seed": 1, **parameters}, code)


def double(source: Path, calls: list[int]) -> stage.Work:
    """A stage that doubles a file, and dies once half-way if the file says so."""

    def work(folder: Path, progress: Progress) -> Outcome:
        text = source.read_text()
        half = folder / "half.txt"
        if not half.exists():
            half.write_text(text)
            calls.append(1)
            if text == "die":
                raise KeyboardInterrupt
        (folder / "out.txt").write_text(half.read_text() * 2)
        return Outcome({"characters": len(text) * 2}, "# Doubled\n\nIt was doubled.")

    return work


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("ab")
    return path


def made(source: Path, out: Path, calls: list[int] | None = None, **parameters: object) -> Made:
    return run(plan(source, **parameters), out, double(source, [] if calls is None else calls), Quiet())


def test_a_stage_is_made_once_and_says_how(source: Path, tmp_path: Path) -> None:
    calls: list[int] = []
    first, second = made(source, tmp_path / "o", calls), made(source, tmp_path / "o", calls)
    assert (first.fresh, second.fresh, calls) == (True, False, [1])
    assert first.path == second.path
    assert first.record == second.record
    assert (tmp_path / "o" / "double" / "out.txt").read_text() == "abab"
    record = json.loads((first.path / "stage.json").read_text())
    assert record["inputs"]["data"]["sha256"] == stage.file_sha256(source)
    assert record["parameters"] == {"seed": 1}
    assert set(record["outputs"]) == {"half.txt", "out.txt", "report.md"}
    report = (first.path / "report.md").read_text()
    assert report.startswith("# Doubled\n\nIt was doubled.\n\n## How it was made\n")
    assert record["inputs"]["data"]["sha256"][:12] in report
    assert first.as_json() == {"path": str(first.path), "fresh": True, "characters": 4}


def test_whatever_it_depends_on_changes_its_name(source: Path, tmp_path: Path) -> None:
    names = {made(source, tmp_path).path.name, made(source, tmp_path, seed=2).path.name}
    names.add(made(source, tmp_path, code=(stage,)).path.name)
    source.write_text("ba")
    last = made(source, tmp_path)
    names.add(last.path.name)
    assert len(names) == 4
    assert (tmp_path / "double").resolve() == last.path.resolve()


def test_a_package_stands_for_its_modules() -> None:
    """One that joins it changes the digest by itself; how it is given does not."""
    modules = (disputes, page, review_stage, sheet)
    assert {f"{module.__name__.rpartition('.')[2]}.py" for module in modules} | {"__init__.py"} == {
        file.name for folder in review.__path__ for file in Path(folder).glob("*.py")
    }
    assert stage.code_sha256((review, labels)) == stage.code_sha256((labels, *modules))
    assert stage.code_sha256((review,)) != stage.code_sha256(modules[:-1])


def test_a_killed_stage_goes_on_where_it_was(source: Path, tmp_path: Path) -> None:
    source.write_text("die")
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        made(source, tmp_path / "o", calls)
    assert all(path.name.startswith(".") for path in (tmp_path / "o").iterdir())  # nothing that looks finished
    result = made(source, tmp_path / "o", calls)
    assert calls == [1]
    assert (result.path / "out.txt").read_text() == "diedie"


def test_a_finished_folder_that_was_changed_is_refused(source: Path, tmp_path: Path) -> None:
    path = made(source, tmp_path).path
    (path / "out.txt").write_text("other")
    with pytest.raises(StageError, match=r"out\.txt changed since"):
        made(source, tmp_path)
    with pytest.raises(StageError, match=r"out\.txt changed since"):
        verified(path)


def test_stages_name_the_stages_before_them(source: Path, tmp_path: Path) -> None:
    first = made(source, tmp_path)
    data = tmp_path / "double" / "out.txt"
    second = run(plan(data, "again"), tmp_path, double(data, []), Quiet())
    assert second.record["inputs"]["data"]["made_by"] == first.path.name == made_by(tmp_path / "double")
    assert made_by(source) is None
    whole = run(plan(tmp_path / "double", "whole"), tmp_path, double(data, []), Quiet())
    assert whole.record["inputs"]["data"]["sha256"] == stage.path_sha256(first.path)


def test_two_processes_do_not_make_one_folder(source: Path, tmp_path: Path) -> None:
    name = made(source, tmp_path / "a").path.name
    (tmp_path / "b").mkdir()
    with (tmp_path / "b" / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StageError, match="another process"):
            made(source, tmp_path / "b")
    assert made(source, tmp_path / "b").fresh


def test_mistakes(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        made(tmp_path / "none", tmp_path)
    with pytest.raises(ConfigError, match="JSON values"):
        made(source, tmp_path, bad=object())
    (tmp_path / "double").mkdir()
    with pytest.raises(ConfigError, match="in the way"):
        made(source, tmp_path)
    with pytest.raises(StageError, match="cannot write under"):
        made(source, Path("/proc/none"))
    with pytest.raises(StageError, match="no finished stage"):
        stage.read_record(tmp_path)
