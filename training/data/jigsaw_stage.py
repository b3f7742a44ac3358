"""The stage `train data jigsaw`: rows of Kaggle's files, or the article's training sets with its frozen test sets."""

from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from graduand.training.data import frozen, jigsaw, labels
from graduand.training.data.leaks import all_leaks
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, write_samples
from graduand.training.stages.markdown import as_list, table
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work

LEAK_THRESHOLD = 0.8
ANSWERS = "answers.jsonl"


def work(folder: Path) -> Work:
    """The stage's work on the comments in `folder`."""
    article = (folder / "test.balanced.jsonl").is_file()
    if not article and not (folder / "train.csv").is_file():
        raise DataError(
            f"{folder} has neither Kaggle's train.csv nor the article's test.balanced.jsonl; give one of them"
        )
    return lambda target, progress: (_article if article else _kaggle)(folder, target, progress)


def _kaggle(folder: Path, target: Path, progress: Progress) -> Outcome:
    samples = jigsaw.read_kaggle(folder)
    write_samples(target / "rows.jsonl", samples)
    files = {"rows": _figures(samples)}
    return Outcome({"files": files}, f"# Jigsaw\n\n{_table(files)}\n\nNext: `graduand train split`.")


def _article(folder: Path, target: Path, progress: Progress) -> Outcome:
    task = labels.task_of(labels.IS_BAD)
    names = dict.fromkeys([*jigsaw.TESTS, *(recipe.file for recipe in jigsaw.RECIPES.values())])
    files = {name: jigsaw.read_article(folder / f"{name}.jsonl") for name in names}
    tests = {name: files[name] for name in jigsaw.TESTS}
    for name, samples in tests.items():
        jigsaw.check_pinned(name, samples)
    made = {name: jigsaw.training_set(recipe, files, task) for name, recipe in jigsaw.RECIPES.items()}
    unique = {sample.id: sample for kept, _ in made.values() for sample in kept}
    progress.say(f"{len(unique)} rows: looking for leaks into the test sets")
    leaked = {leak.train: leak for leak in all_leaks(list(unique.values()), tests, LEAK_THRESHOLD)}
    figures: dict[str, Any] = {}
    for name, (rows, left_out) in made.items():
        kept = [sample for sample in rows if sample.id not in leaked]
        write_samples(target / f"{name}.jsonl", kept)
        told = {"left_out": len(left_out), "leaked": len(rows) - len(kept), "by": _source(jigsaw.RECIPES[name])}
        figures[name] = _figures(kept) | told
    for name, samples in tests.items():
        write_samples(target / f"{name}.jsonl", samples)
        figures[name] = _figures(samples) | {"by": "gold"}
    frozen.freeze(target, tests)
    _write_answers(target / ANSWERS, files)
    report = [
        "# The article's data",
        _table(figures),
        _remarks(),
        "## Leaks that were taken out",
        as_list(leaked.values()),
    ]
    return Outcome({"files": figures, "leaks": [str(leak) for leak in leaked.values()]}, "\n\n".join(report))


def _source(recipe: jigsaw.Recipe) -> str:
    if not recipe.by_gold:
        return jigsaw.TEACHER
    errors = f", without {jigsaw.TEACHER}'s errors" if recipe.without_errors else ""
    return f"{jigsaw.TEACHER} for the rows of A, gold for the others{errors}"


def _figures(samples: list[Sample]) -> dict[str, Any]:
    return {"rows": len(samples), "gold": dict(sorted(Counter(str(sample.gold) for sample in samples).items()))}


def _table(figures: dict[str, Any]) -> str:
    lines = [
        (
            name,
            entry["rows"],
            entry["gold"].get("1", 0),
            entry.get("left_out", 0),
            entry.get("leaked", 0),
            entry.get("by", "gold"),
        )
        for name, entry in figures.items()
    ]
    return table(("file", "rows", "toxic by gold", "left out", "leaked", "labels by"), lines)


def _remarks() -> str:
    models = ", ".join(f"`{name}`" for name in jigsaw.TEACHERS.values())
    return (
        f"The test sets are pinned (`{frozen.PINS}`). The article's training files hold near-duplicates of test rows; they "
        "are left out here, so its figures are not reached on quite the same rows. "
        f"`{ANSWERS}` is for `graduand recorded-teacher`: ask it for the models {models}."
    )


def _write_answers(path: Path, files: dict[str, list[Sample]]) -> None:
    """Recorded answers by comment and model, for the recorded teacher."""
    seen: set[tuple[str, str]] = set()
    with path.open("wb") as out:
        for sample in (sample for samples in files.values() for sample in samples):
            for model, answer in sample.answers.items():
                if (model, sample.text) not in seen:
                    seen.add((model, sample.text))
                    record = {"model": model, "text": sample.text, "answer": answer}
                    out.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
