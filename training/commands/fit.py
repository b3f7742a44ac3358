"""`graduand train fit`: train a LoRA adapter on prompt/completion rows."""

import argparse
import json
import os
from pathlib import Path

from graduand.training.commands.options import Commands


def add_parser(steps: Commands) -> None:
    """Register `train fit`."""
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
        ("batch-tokens", int, "tokens a step with padding, in place of rows"),
        ("upper-layers", int, "train the adapter of so many upper layers only: much quicker; 0: of all"),
        ("patience", int, "epochs without a better validation loss before it stops"),
        ("rank", int, "LoRA's rank: 8, 16, 32 or 64"),
        ("alpha", int, "LoRA's alpha"),
        ("max-tokens", int, "longest row, in tokens"),
        ("truncated-limit", float, "share of rows that may be longer"),
        ("seed", int, "of the adapter's start and the rows' order"),
        ("threads", int, "CPU threads; 0: all cores"),
        ("checkpoint-steps", int, "steps between checkpoints"),
    ):
        fit.add_argument(f"--{flag}", type=kind, help=text)
    fit.add_argument("--validation", type=Path, metavar="FILE.jsonl", help="rows that are looked at after each epoch")
    fit.add_argument("--class-weight", choices=("none", "balanced"), help="balanced: rare labels count as much")
    fit.add_argument("--precision", choices=("auto", "bfloat16", "float32"), help="what the CPU or GPU computes in")
    fit.add_argument("--json", action="store_true", help="print the record of the run as JSON")
    fit.set_defaults(run=_run_fit)


def _run_fit(arguments: argparse.Namespace) -> int:
    from graduand.training.fit.run_config import FitConfig, fit_config

    config = fit_config(arguments.config, {key: getattr(arguments, key, None) for key in FitConfig.model_fields})
    _be_patient()
    from graduand.training.fit.fit import fit
    from graduand.training.stages.progress import Silent, for_terminal

    first = os.environ.get("RANK", "0") == "0"
    progress = for_terminal() if first else Silent()
    try:
        fitted = fit(config, progress)
    finally:
        progress.close()
    if not first:
        return 0
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
