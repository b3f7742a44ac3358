"""`graduand train`: the road from logged traffic to an adapter, one command a stage. Imports nothing heavy until one runs."""

from graduand.training.commands import (
    ablate,
    admit,
    assess,
    baselines,
    curate,
    data,
    evaluate,
    experiments,
    fit,
    label,
    leaks,
    redistil,
    reference,
    review,
    split,
    synth,
    teacher,
)
from graduand.training.commands.options import Commands

# In the order of the road.
STEPS = (
    assess,
    data,
    split,
    leaks,
    teacher,
    label,
    synth,
    curate,
    baselines,
    fit,
    evaluate,
    experiments,
    review,
    ablate,
    admit,
    reference,
    redistil,
)


def add_parser(commands: Commands) -> None:
    """Register `train` and its sub-commands."""
    train = commands.add_parser("train", help="from logged traffic to an adapter")
    steps = train.add_subparsers(title="steps", metavar="STEP", required=True)
    for step in STEPS:
        step.add_parser(steps)
