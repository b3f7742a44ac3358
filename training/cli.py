"""`graduand train`: the training commands. Imports nothing heavy until one runs."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

Commands = Any  # argparse's type of a group of sub-commands is private


def add_parser(commands: Commands) -> None:
    """Register `train` and its sub-commands."""
    train = commands.add_parser("train", help="from logged traffic to an adapter")
    steps = train.add_subparsers(title="steps", metavar="STEP", required=True)
    _add_fit(steps)
    _add_data(steps)
    _add_reference(steps)


def _add_fit(steps: Commands) -> None:
    fit = steps.add_parser("fit", help="train a LoRA adapter on prompt/completion rows")
    fit.add_argument("--data", type=Path, metavar="FILE.jsonl", help="rows: messages or prompt, and completion")
    fit.add_argument("--out", type=Path, metavar="DIR", help="where the folder NAME@DIGEST is made")
    fit.add_argument("--name", help="the adapter's name (default: the data file's)")
    fit.add_argument("--config", type=Path, metavar="RUN.yaml", help="any of these settings; the command line wins")
    fit.add_argument("--base", help="a folder, a hub id, or smollm2-135m (the default)")
    for flag, kind, text in (
        ("epochs", float, "how often each row is seen"),
        ("rate", float, "the highest learning rate"),
        ("warm-up", float, "share of the steps in which the rate rises"),
        ("batch", int, "rows a step"),
        ("rank", int, "LoRA's rank: 8, 16, 32 or 64"),
        ("alpha", int, "LoRA's alpha"),
        ("max-tokens", int, "longest row, in tokens"),
        ("truncated-limit", float, "share of rows that may be longer"),
        ("seed", int, "of the adapter's start and the rows' order"),
        ("threads", int, "CPU threads; 0: all cores"),
        ("checkpoint-steps", int, "steps between checkpoints"),
    ):
        fit.add_argument(f"--{flag}", type=kind, help=text)
    fit.add_argument("--precision", choices=("auto", "bfloat16", "float32"), help="what the CPU or GPU computes in")
    fit.add_argument("--json", action="store_true", help="print the record of the run as JSON")
    fit.set_defaults(run=_run_fit)


def _run_fit(arguments: argparse.Namespace) -> int:
    from training.run_config import FitConfig, fit_config

    config = fit_config(arguments.config, {key: getattr(arguments, key, None) for key in FitConfig.model_fields})
    _be_patient()
    from training.fit import fit
    from training.progress import for_terminal

    progress = for_terminal()
    try:
        fitted = fit(config, progress)
    finally:
        progress.close()
    if arguments.json:
        print(json.dumps({"path": str(fitted.path), **fitted.run}, indent=2))
        return 0
    run = fitted.run
    print(f"{fitted.path}")
    print(
        f"{run['data']['rows']} rows, {run['steps']} steps, {run['seconds']:.0f} s, {run['tokens_per_s']:.0f} tokens/s "
        f"({run['precision']}, {run['threads']} threads), loss {run['losses'][0]:.4f} -> {run['losses'][-1]:.4f}"
    )
    return 0


def _be_patient() -> None:
    """Let waiting threads sleep: spinning ones starve whatever else runs on the machine. Read when torch is loaded."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _add_data(steps: Commands) -> None:
    data = steps.add_parser("data", help="make rows")
    sources = data.add_subparsers(title="sources", metavar="SOURCE", required=True)
    logs = sources.add_parser("logs", help="rows from the gateway's request log")
    logs.add_argument(
        "--from", dest="logs", required=True, metavar="URL", help="the log: a folder, file:///…, s3://… or gs://…"
    )
    logs.add_argument("--route", required=True, help="the route whose teacher answers are wanted")
    logs.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="the rows")
    logs.add_argument("--limit", type=int, metavar="N", help="at most N rows, the earliest")
    logs.add_argument("--holdout", type=float, default=0.0, metavar="SHARE", help="share kept apart for evaluation")
    logs.add_argument("--json", action="store_true", help="print the counts as JSON")
    logs.set_defaults(run=_run_logs)


def _run_logs(arguments: argparse.Namespace) -> int:
    from training.logs import write_rows

    counts = write_rows(arguments.logs, arguments.route, arguments.out, arguments.limit, arguments.holdout)
    if arguments.json:
        print(json.dumps(counts.as_json(), indent=2))
        return 0
    print(counts.text())
    return 0


def _add_reference(steps: Commands) -> None:
    text = "make an adapter's reference set, by which drift of its traffic is seen"
    reference = steps.add_parser("reference", help=text, description=f"{text}. `fit` leaves one by itself.")
    reference.add_argument("--data", type=Path, required=True, metavar="FILE.jsonl", help="the rows it was trained on")
    reference.add_argument("--adapter", type=Path, required=True, metavar="DIR", help="where DIR/reference is made")
    reference.add_argument(
        "--embedder", default="static", help="static (the default) or minilm: finer, 100 times slower"
    )
    reference.add_argument("--false-alarm-every", type=float, default=10_000, metavar="N", help="promise to report on")
    reference.add_argument("--seed", type=int, default=0, help="of the split into references and calibration rows")
    reference.add_argument("--json", action="store_true", help="print the calibration report as JSON")
    reference.set_defaults(run=_run_reference)


def _run_reference(arguments: argparse.Namespace) -> int:
    from gateway.errors import ConfigError
    from training.reference import markdown, write
    from training.rows import read_rows

    if not arguments.adapter.is_dir():
        raise ConfigError(f"--adapter: there is no folder {arguments.adapter}")
    rows = read_rows(arguments.data)
    path, report = write(
        rows, arguments.adapter, embedder=arguments.embedder, seed=arguments.seed,
        false_alarm_every=arguments.false_alarm_every,
    )  # fmt: skip
    print(json.dumps({"path": str(path), **report}, indent=2) if arguments.json else f"{path}\n\n{markdown(report)}")
    return 0
