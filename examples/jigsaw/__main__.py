"""Students of the article's comments, from its data to the table beside the article's: `make jigsaw JIGSAW=DIR`.

Two hours on one core. Every step is a `graduand` command that is printed; each finds what it has done, and a fit that was
killed goes on from its checkpoint, so the same command again loses nothing. The sets come in the order of their worth.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from examples.jigsaw import development, figures, table
from examples.jigsaw.figures import Student
from graduand.gateway.control.study import tradeoff
from graduand.rollout.answers.tasks import Task
from graduand.training.data.frozen import read_frozen
from graduand.training.data.labels import read_task
from graduand.training.stages import plots
from graduand.training.stages.progress import shown

HERE = Path(__file__).parent
TASK = HERE / "task.yaml"
# The smallest set is seen three times, as run.yaml says; the others twice, which is more steps all the same.
EPOCHS = {"A": "3", "E": "2", "D": "2", "C": "2", "B": "2"}


def main() -> int:
    """Run what is not done yet, then write the table."""
    arguments = argparse.ArgumentParser(prog="make jigsaw", description=__doc__)
    arguments.add_argument("--from", dest="source", type=Path, required=True, help="the article's data")
    arguments.add_argument("--sets", nargs="+", choices=[*EPOCHS], default=[*EPOCHS], help="sets to train on")
    arguments.add_argument("--out", type=Path, default=Path("runs"), help="where stages go")
    arguments.add_argument("--adapters", type=Path, default=Path("adapters"), help="where adapters go")
    arguments.add_argument("--threads", type=int, default=0, help="0: all cores")
    arguments.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="where the table goes")
    options = arguments.parse_args()
    out, sets, threads = options.out, options.out / "jigsaw", str(options.threads)
    run("data", "jigsaw", "--from", str(options.source), "--out", str(out))
    with shown() as progress:
        held_out = development.made(sets, out, progress)
    files = [f"{sets}/{name}.jsonl" for name in sorted(EPOCHS)]
    run("baselines", "--data", *files, "--tests", str(sets), "--task", str(TASK), "--labels-from", "completion,gold",
        "--zero-shot", "0", "--out", str(out), "--name", "jigsaw-baselines")  # fmt: skip
    command = f'make jigsaw JIGSAW=DIR ARGS="--sets {" ".join(options.sets)} --threads {threads}"'
    students: dict[str, Student] = {}
    for name in options.sets:
        adapter = fitted(name, sets, options.adapters, threads)
        evaluations = [evaluated(name, adapter, sets, sets, out, threads)]
        if name in development.APART:
            evaluations.append(evaluated(f"{name}-development", adapter, held_out, sets, out, threads))
        students[name] = Student(adapter, tuple(evaluations))
        task = read_task(str(TASK))
        found = figures.figures(students, sets, out / "jigsaw-baselines", held_out, task)
        write(found, command, options.results)  # after each set: a long run shows what it has
        best = students.get("E", students[options.sets[0]])
        write_curves(best, options.results / "jigsaw_student_curve", sets, task)
    return 0


def fitted(name: str, sets: Path, adapters: Path, threads: str) -> Path:
    """The adapter of a set, trained or found."""
    told = run("fit", "--config", str(HERE / "run.yaml"), "--data", f"{sets}/{name}.jsonl", "--epochs", EPOCHS[name],
               "--out", str(adapters), "--name", f"jigsaw-{name}", "--threads", threads)  # fmt: skip
    return Path(told.splitlines()[0])


def evaluated(name: str, adapter: Path, tests: Path, sets: Path, out: Path, threads: str) -> Path:
    """The evaluation of an adapter on frozen rows, made or found."""
    run("evaluate", "--adapter", str(adapter), "--tests", str(tests), "--task", str(TASK), "--train",
        f"{sets}/{name[0]}.jsonl", "--threads", threads, "--out", str(out), "--name", f"jigsaw-{name}")  # fmt: skip
    return (out / f"jigsaw-{name}").resolve()


def write(found: dict[str, Any], command: str, results: Path) -> None:
    """The table so far, its figures and its picture."""
    made = machine()
    (results / "jigsaw.json").write_text(json.dumps({"made": made, **found}, indent=1) + "\n", encoding="utf-8")
    (results / "jigsaw.md").write_text(table.page(found, made, command) + "\n", encoding="utf-8")
    points = [
        plots.Point(f"{name}, {row['test_set']}", row["accuracy"], row["low"], row["high"], row["test_set"])
        for name, student in found["students"].items() for row in student["rows"]
    ]  # fmt: skip
    plots.intervals(results / "jigsaw.png", "Students' accuracy, 95% intervals", points)
    print(f"the table so far: {results / 'jigsaw.md'}", flush=True)


def write_curves(student: Student, path: Path, sets: Path, task: Task) -> None:
    """One student's curve of cost against quality on the test sets, as numbers and as a picture."""
    told, drawn = {}, []
    for test, samples in read_frozen(sets).items():
        agreement, gold = figures.cost_quality(student, test, samples, task)
        by_gold = {"student": gold.weak, "teacher": gold.strong}
        by_gold["at"] = [gold.at_share(share).quality for share in tradeoff.SHARES]
        told[test] = {key: value for key, value in tradeoff.numbers(agreement).items() if key != "points"}
        told[test]["right_by_gold"] = by_gold
        drawn.append(tradeoff.Drawn(test, agreement, len(samples)))
    whole = {"student": student.adapter.name, "teacher": figures.TEACHER, "sets": told}
    path.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    tradeoff.draw(drawn, path.with_suffix(".png"))


def run(*arguments: str) -> str:
    """One step; its progress is shown as it goes, what it prints at the end is the answer."""
    command = ("train", *arguments)
    print(f"$ graduand {shlex.join(command)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "graduand", *command], stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
