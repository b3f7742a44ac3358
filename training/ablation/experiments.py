"""Experiments: runs compared, and what was changed between them. Change one thing at a time, or the cause stays unknown.

Pure but for reading the records. Compares resolved configurations as the runs recorded them, with the hashes of data and
base: a default that was changed in between counts as well. Invariant: two runs that differ in two things are never shown
as a comparison of one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graduand.gateway.adapters.admission import RUN_FILE
from graduand.gateway.errors import GraduandError
from graduand.training.data.rows import DataError
from graduand.training.stages import markdown, stage

# Where files lie and how fast it goes changes nothing that is learned; data and base count by their hashes.
NO_CHANGE = {"data", "out", "name", "threads", "checkpoint_steps", "base", "validation"}


class ComparisonError(GraduandError, ValueError):
    """Two runs cannot be compared: more than one thing was changed."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A run by its adapter's name: its settings, and its accuracy by test set where it was evaluated."""

    name: str
    settings: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, Any]]
    seconds: float


def experiment(name: str, run: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]]) -> Experiment:
    """A run's record as an experiment."""
    settings = {key: value for key, value in run["config"].items() if key not in NO_CHANGE}
    data = run["data"]
    settings |= {"data": data["sha256"][:12], "base": run["base"]["revision"]}
    settings["validation"] = (data.get("validation_sha256") or "")[:12]
    settings["curriculum"] = [
        (sha256[:12], part["epochs"])
        for sha256, part in zip(data.get("curriculum_sha256", ()), run["config"].get("curriculum", ()), strict=True)
    ]
    return Experiment(name, settings, scores, float(run["seconds"]))


def changes(one: Experiment, other: Experiment) -> list[str]:
    """What differs between two runs, as `rate: 0.0005 -> 0.001`; a setting that one of them never had differs too.

    >>> a = Experiment("a", {"rate": 1, "seed": 0}, {}, 0.0)
    >>> changes(a, Experiment("b", {"rate": 2, "seed": 0}, {}, 0.0))
    ['rate: 1 -> 2']
    """
    keys = sorted(one.settings.keys() | other.settings.keys())
    pairs = ((key, one.settings.get(key), other.settings.get(key)) for key in keys)
    return [f"{key}: {a} -> {b}" for key, a, b in pairs if a != b]


def check_one_change(one: Experiment, other: Experiment) -> str:
    """The one thing that was changed; raises ComparisonError if it was none or several."""
    found = changes(one, other)
    if len(found) == 1:
        return found[0]
    if not found:
        raise ComparisonError(f"{one.name} and {other.name} have the same settings: there is nothing to compare")
    raise ComparisonError(
        f"{other.name} changed {len(found)} things against {one.name} ({'; '.join(found)}): nobody can say which of them "
        "mattered; run one with a single change"
    )


def read(adapters: Path, evaluations: Path | None) -> list[Experiment]:
    """The runs whose adapters lie in the folder, by name, with what the evaluations in the other folder say of them."""
    by_digest = _scores(evaluations) if evaluations else {}
    found = []
    for file in sorted(adapters.glob(f"*@*/{RUN_FILE}")):
        try:
            run = json.loads(file.read_bytes())
            found.append(experiment(file.parent.name, run, by_digest.get(run["digest"], {})))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file} is no run's record ({error!r}); move it away, or run `train fit` again") from error
    if not found:
        raise DataError(f"{adapters} holds no adapter with a {RUN_FILE}; give the --out of `train fit`")
    return found


def _scores(evaluations: Path) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for folder in sorted(path for path in evaluations.iterdir() if (path / stage.RECORD).is_file()):
        figures = stage.read_record(folder)["figures"]
        rows = figures.get("rows", ()) if "digest" in figures else ()
        for row in rows:
            if row.get("what") == figures["what"] and "accuracy" in row:
                found.setdefault(figures["digest"], {})[row["test_set"]] = row
    return found


def table(found: Sequence[Experiment], baseline: Experiment) -> str:
    """All runs against `baseline`; one that changed several things is marked, for it proves nothing."""
    tests = sorted({test for each in found for test in each.scores})
    head = ("run", *tests, "seconds", f"changed against {baseline.name}", "")
    return markdown.table(head, [_line(each, baseline, tests) for each in found])


def _line(each: Experiment, baseline: Experiment, tests: Sequence[str]) -> tuple[object, ...]:
    changed = changes(baseline, each)
    mark = f"{len(changed)} CHANGES: not comparable" if len(changed) > 1 else ""
    scores = [_shown(each.scores.get(test)) for test in tests]
    what = "; ".join(changed) or ("the baseline" if each is baseline else "nothing")
    return each.name, *scores, round(each.seconds), what, mark


def _shown(row: Mapping[str, Any] | None) -> str:
    return f"{row['accuracy']:.4f} [{row['low']:.3f}, {row['high']:.3f}]" if row else ""
