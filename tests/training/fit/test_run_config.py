"""A run's configuration: the file, the command line over it, and errors that name the remedy."""

from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.errors import ConfigError
from graduand.training.fit.run_config import fit_config


def test_command_line_wins_over_the_file_and_paths_follow_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("data: tickets.v1.jsonl\nout: adapters\nrate: 5e-4\nepochs: 3\n")
    config = fit_config(file, {"epochs": 1.5, "rate": None})
    assert (config.data, config.out) == (tmp_path / "tickets.v1.jsonl", tmp_path / "adapters")
    assert (config.epochs, config.rate, config.name) == (1.5, 5e-4, "tickets")


@pytest.mark.parametrize(
    ("text", "given_values", "complaint"),
    [
        ("epoch: 3", {}, "unknown key 'epoch'.*Did you mean 'epochs'"),
        ("- 3", {}, "must hold keys and values"),
        ("a: [", {}, "cannot read"),
        ("out: x", {}, "'data' is missing: give --data"),
        ("data: x", {}, "'out' is missing"),
        ("", {"data": "x", "out": "y", "rank": 12}, "rank: servers accept the ranks 8, 16, 32, 64"),
        ("", {"data": "x", "out": "y", "epochs": -1}, "epochs: "),
        ("", {"data": "x", "out": "y", "epochs": "many"}, "epochs: "),
        ("", {"data": "x", "out": "y", "name": "../up"}, "name: adapter name '../up' is not allowed"),
        ("", {"data": "x", "out": "y", "name": "a@abcdef"}, "give the name without '@'"),
        ("", {"data": "x", "out": "y", "precision": "int4"}, "precision: "),
    ],
)
def test_mistakes(tmp_path: Path, text: str, given_values: dict[str, Any], complaint: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        fit_config(file, given_values)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the run's configuration"):
        fit_config(tmp_path / "none.yaml", {})


def test_patience_needs_validation_rows() -> None:
    with pytest.raises(ConfigError, match=r"^patience needs validation"):
        fit_config(None, {"data": "rows.jsonl", "out": "out", "patience": 3})
