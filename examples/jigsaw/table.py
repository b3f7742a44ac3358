"""The article's table beside ours, as Markdown. Pure: figures in, a page out."""

from collections.abc import Iterator, Mapping
from typing import Any

from graduand.training.stages import markdown

Json = Mapping[str, Any]
# Balanced test set, in percent: Llama-2-7B for A to D, as the article gives them; E is its 5k row.
ARTICLE = {"A": "87.2", "B": "90.0", "C": "92.0", "D": "88.7", "E": "90.2"}
MAIN = "test.balanced"
SETS = {
    "A": "1.1k by GPT-4", "B": "A and 1.1k by gold", "C": "B without GPT-4's errors", "D": "B and 1k toxic by gold",
    "E": "5k by GPT-4",
}  # fmt: skip


def page(found: Json, made: Json, command: str) -> str:
    """The whole page; `made`: on what machine, and when."""
    pictures = "![accuracy](jigsaw.png)\n\n![cost against quality](jigsaw_student_curve.png)"
    return "\n\n".join(
        (
            "# Students of the article's comments",
            f"SmolLM2-135M with a LoRA adapter, on a processor. `{command}` makes this page; a run that was stopped goes on.",
            markdown.table(("model", "test set", "rows", "accuracy", "95% interval", "the article"), _scores(found)),
            "The article's students are Llama-2-7B. Rows near to a test row were taken out of A to E here. `toxic above`: the "
            "threshold that the development rows teach; elsewhere it is a half.",
            "## What was asked of them", markdown.table(("target", "measured", "met"), targets(found)),
            "## Hybrid: the least sure answers left to GPT-4",
            "GPT-4's recorded answers stand for the teacher. `p`: McNemar's exact test against GPT-4 alone.",
            markdown.table(
                ("student", "test set", "asked of GPT-4", "accuracy", "95% interval", "GPT-4 alone", "p"), _hybrid(found)
            ),
            "## On the same rows",
            markdown.table(
                ("first", "second", "test set", "only the first is right", "only the second", "difference", "p", "detectable"),
                _pairs(found),
            ),
            "`detectable`: a smaller difference is not seen four times out of five.",
            pictures,
            "## The runs",
            markdown.table(
                ("set", "adapter", "rows", "epochs", "steps", "tokens", "tokens/s", "minutes", "last loss"), _runs(found)
            ),
            _settings(found),
            markdown.as_list(f"{name}: {value}" for name, value in made.items()),
        )
    )  # fmt: skip


def _scores(found: Json) -> Iterator[tuple[object, ...]]:
    for name, student in found["students"].items():
        for row in student["rows"]:
            beside = ARTICLE[name] if row["test_set"] == MAIN else ""
            yield f"student of {name} ({SETS[name]})", *_row(row), beside
        cut = student["calibrated"]
        for row in cut["rows"] if cut else ():
            yield f"student of {name}, toxic above {cut['threshold']:.3f}", *_row(row), ""
    for each in found["waiting"]:
        yield _not_run(each["set"], each["minutes"]), MAIN, "", "", "", ARTICLE[each["set"]]
    for row in found["baselines"]:
        yield f"{row['what']}{', ' + row['trained_on'] if row['trained_on'] else ''}", *_row(row), ""


def _not_run(name: str, minutes: int) -> str:
    return f"student of {name} ({SETS[name]}): not run here, about {minutes} minutes on this machine"


def _row(row: Json) -> tuple[object, ...]:
    return row["test_set"], row["rows"], f"{row['accuracy']:.4f}", _interval(row)


def _interval(row: Json) -> str:
    return f"{row['low']:.3f}–{row['high']:.3f}"


def _hybrid(found: Json) -> Iterator[tuple[object, ...]]:
    for row in found["hybrid"]:
        told = (f"{row['asked']:.0%}", f"{row['accuracy']:.4f}", _interval(row), f"{row['teacher']:.4f}")
        yield row["student"], row["test_set"], *told, f"{row['against_teacher']['p_value']:.3f}"


def _pairs(found: Json) -> Iterator[tuple[object, ...]]:
    for each in found["pairs"]:
        counts = (each["first_only"], each["second_only"], f"{each['difference']:+.4f}", f"{each['p_value']:.3f}")
        yield each["first"], each["second"], each["test_set"], *counts, f"{each['detectable']:.3f}"


def _runs(found: Json) -> Iterator[tuple[object, ...]]:
    for name, student in found["students"].items():
        run = student["run"]
        yield (
            name, run["adapter"], run["rows"], run["epochs"], run["steps"], run["tokens"], f"{run['tokens_per_s']:.0f}",
            f"{run['seconds'] / 60:.1f}", run["last_loss"],
        )  # fmt: skip


def _settings(found: Json) -> str:
    run = next(iter(found["students"].values()))["run"]
    return (
        f"Rank {run['rank']}, rate {run['rate']}, the upper {run['upper_layers']} layers, classes balanced, at most "
        f"{run['max_tokens']} tokens, {run['precision']}, {run['threads']} thread; minutes on the clock of a busy machine. "
        "`development` are 400 rows of D that have nothing to do with A and E (examples/jigsaw/development.py)."
    )


def targets(found: Json) -> Iterator[tuple[str, str, str]]:
    """What was asked of the students, measured on the balanced test set; a target is met by the figure, not its interval."""
    own = {name: _of(student["rows"]) for name, student in found["students"].items()}
    if "E" in own:
        yield "E: at least 87%", _told(own["E"]), _yes(own["E"]["accuracy"] >= 0.87)
        for where, among in (("on E's rows", "E"), ("on any set's rows", "")):
            best = _best_baseline(found, among)
            yield (
                f"E: above every baseline {where}, the best of which is {best['what']}, {best['trained_on']}, "
                f"{best['accuracy']:.4f}",
                _told(own["E"]), _yes(own["E"]["accuracy"] > best["accuracy"]),
            )  # fmt: skip
    if "A" in own:
        ahead = own["A"]["accuracy"] - _best_baseline(found, "A")["accuracy"]
        yield "A: 5 points above TF-IDF on the same rows", f"{100 * ahead:+.2f} points", _yes(ahead >= 0.05)
    for row in found["hybrid"]:
        if row["student"] == "E" and _main(row) and row is _last(found, "E"):
            told = f"{_told(row)}, asked {row['asked']:.0%}"
            yield (
                f"E and hybrid routing: above GPT-4's {row['teacher']:.4f}, asking it for at most 40%", told,
                _yes(row["accuracy"] > row["teacher"] and row["asked"] <= 0.4 + 1e-9),
            )  # fmt: skip


def _last(found: Json, name: str) -> Json:
    """The student's hybrid row that asks the most."""
    mine: list[Json] = [row for row in found["hybrid"] if row["student"] == name and _main(row)]
    return max(mine, key=lambda row: float(row["asked"]))


def _of(rows: list[Json]) -> Json:
    return next(row for row in rows if _main(row))


def _main(row: Json) -> bool:
    return bool(row["test_set"] == MAIN)


def _best_baseline(found: Json, name: str) -> Json:
    """The best that learned from rows of one set, or of any, whoever labelled them."""
    rows: list[Json] = [row for row in found["baselines"] if row["trained_on"].startswith(name) and row["trained_on"]]
    return max((row for row in rows if _main(row)), key=lambda row: float(row["accuracy"]))


def _told(row: Json) -> str:
    return f"{row['accuracy']:.4f} ({_interval(row)})"


def _yes(met: bool) -> str:
    return "yes" if met else "no"
