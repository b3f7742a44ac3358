"""Students of the article's comments, from its data to the table beside the article's: `make jigsaw JIGSAW=DIR`.

Hours on a processor. Every step is a `graduand` command that is printed; each finds what it has done, and a fit that was
killed goes on from its checkpoint, so the same command again loses nothing.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from examples.jigsaw import table
from training.labels import read_task

HERE = Path(__file__).parent
TASK = HERE / "task.yaml"
SETS = ("A", "B", "C", "D", "E")


def main() -> int:
    """Run what is not done yet, then write the table."""
    arguments = argparse.ArgumentParser(prog="make jigsaw", description=__doc__)
    arguments.add_argument("--from", dest="source", type=Path, required=True, help="the article's data")
    arguments.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="sets to train on")
    arguments.add_argument("--out", type=Path, default=Path("runs"), help="where stages go")
    arguments.add_argument("--adapters", type=Path, default=Path("adapters"), help="where adapters go")
    arguments.add_argument("--threads", type=int, default=0, help="0: all cores")
    arguments.add_argument("--table", type=Path, default=Path("benchmarks/results/jigsaw.md"))
    options = arguments.parse_args()
    out, tests = str(options.out), str(options.out / "jigsaw")
    run("data", "jigsaw", "--from", str(options.source), "--out", out)
    sets = [f"{tests}/{name}.jsonl" for name in options.sets]
    run("baselines", "--data", *sets, "--tests", tests, "--task", str(TASK), "--labels-from", "completion",
        "--zero-shot", "0", "--out", out, "--name", "jigsaw-baselines")  # fmt: skip
    evaluations = {}
    for name, rows in zip(options.sets, sets, strict=True):
        adapter = fitted(name, rows, options.adapters, options.threads)
        run("evaluate", "--adapter", str(adapter), "--tests", tests, "--task", str(TASK), "--train", rows,
            "--threads", str(options.threads), "--out", out, "--name", f"jigsaw-{name}")  # fmt: skip
        evaluations[name] = options.out / f"jigsaw-{name}"
        page = table.page(
            Path(tests), evaluations, options.out / "jigsaw-baselines", read_task(str(TASK)), "make jigsaw JIGSAW=DIR"
        )
        options.table.write_text(page + "\n", encoding="utf-8")  # after each set: a long run shows what it has
        print(f"the table so far: {options.table}", flush=True)
    return 0


def fitted(name: str, rows: str, adapters: Path, threads: int) -> Path:
    """The adapter of a set, trained or found."""
    told = run("fit", "--config", str(HERE / "run.yaml"), "--data", rows, "--out", str(adapters),
               "--name", f"jigsaw-{name}", "--threads", str(threads))  # fmt: skip
    return Path(told.splitlines()[0])


def run(*arguments: str) -> str:
    """One step; its progress is shown as it goes, what it prints at the end is the answer."""
    command = ("train", *arguments)
    print(f"$ graduand {shlex.join(command)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "gateway", *command], stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
