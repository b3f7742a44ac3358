"""The table of runs: one change is a comparison, two are not."""

import json
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.cli import main
from graduand.training.ablation import experiments
from graduand.training.ablation.experiments import ComparisonError
from graduand.training.data.rows import DataError


def write(folder: Path, name: str, **changes: Any) -> None:
    config = {"rate": 5e-4, "rank": 16, "seed": 0, "out": str(folder), "threads": len(name), "curriculum": []}
    data = {"sha256": changes.pop("sha256", "a" * 64), "curriculum_sha256": []}
    run = {
        "digest": name.partition("@")[2],
        "config": config | changes,
        "data": data,
        "base": {"revision": "r1"},
        "seconds": 3.2,
    }
    (folder / name).mkdir(parents=True)
    (folder / name / "run.json").write_text(json.dumps(run))


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    write(folder, "base@000000000001")
    write(folder, "faster@000000000002", rate=1e-3)
    write(folder, "other-data@000000000003", sha256="b" * 64)
    write(folder, "both@000000000004", rate=1e-3, sha256="b" * 64)
    record = {"stage": "evaluate", "figures": {"digest": "000000000002", "what": "faster", "rows": [
        {"what": "faster", "test_set": "balanced", "accuracy": 0.87, "low": 0.83, "high": 0.9},
        {"what": "gpt-4", "test_set": "balanced", "accuracy": 0.88, "low": 0.85, "high": 0.91}]}}  # fmt: skip
    (tmp_path / "runs" / "evaluate-1").mkdir(parents=True)
    (tmp_path / "runs" / "evaluate-1" / "stage.json").write_text(json.dumps(record))
    return folder


def test_the_table_marks_two_changes(adapters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "experiments", "--adapters", str(adapters), "--baseline", "base"]
    assert main([*command, "--evaluations", str(adapters.parent / "runs")]) == 0
    lines = {line.split("|")[1].strip().partition("@")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "the baseline" in lines["base"]
    assert "0.8700 [0.830, 0.900]" in lines["faster"]
    assert "rate: 0.0005 -> 0.001" in lines["faster"]
    assert "CHANGES" not in lines["faster"] + lines["other-data"]
    assert "2 CHANGES: not comparable" in lines["both"]


def test_a_comparison_of_two_changes_is_refused(adapters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "experiments", "--adapters", str(adapters), "--baseline", "base", "--compare"]
    assert main([*command, "other-data"]) == 0
    assert "data: aaaaaaaaaaaa -> bbbbbbbbbbbb" in capsys.readouterr().out
    assert main([*command, "both"]) == 1
    assert "changed 2 things" in capsys.readouterr().err
    assert main([*command, "bth"]) == 2
    with pytest.raises(ComparisonError, match="the same settings"):
        found = experiments.read(adapters, None)
        experiments.check_one_change(found[0], found[0])


def test_a_damaged_record_is_named(adapters: Path) -> None:
    (adapters / "base@000000000001" / "run.json").write_text("{}")
    with pytest.raises(DataError, match=r"base@000000000001/run\.json is no run's record"):
        experiments.read(adapters, None)
