"""`graduand train reference`, and what `fit` leaves beside the weights: the reference set of an adapter's own rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graduand.monitoring.drift import files
from graduand.monitoring.drift.prompts import Prompt, prompt_of
from graduand.monitoring.drift.reference import build, calibration_report, too_few
from graduand.monitoring.drift.spreads import Seen
from graduand.monitoring.embedding.named import load
from graduand.training.data.rows import Row

FALSE_ALARM_EVERY = 10_000


def prompts_of(rows: Sequence[Row]) -> list[Prompt]:
    """What the detectors will see of such requests."""
    return [
        prompt_of({"messages": row.messages} if row.messages is not None else {"prompt": row.prompt}) for row in rows
    ]


def write(
    prompts: Sequence[Prompt], parent: Path, *, embedder: str = "static", seed: int = 0,
    false_alarm_every: float = FALSE_ALARM_EVERY, users: Sequence[str | None] = (),
) -> tuple[Path, dict[str, Any]]:  # fmt: skip
    """Make PARENT/reference and its calibration report; `users` says whose each prompt is, if that is known."""
    made = build(prompts, load(embedder), seed, [Seen(unit=user) for user in users])
    report = calibration_report(made, false_alarm_every)
    return files.write(made, parent, report), report


def write_beside(rows: Sequence[Row], adapter: Path, seed: int) -> str:
    """After `fit`: the reference set in the adapter's folder; what became of it, in words."""
    prompts = prompts_of(rows)
    if problem := too_few(prompts):
        return f"no reference set for drift: {problem}"
    folder, report = write(prompts, adapter, seed=seed, users=[row.user for row in rows])
    return f"{folder}: {report['references']} reference points for drift; {report['guarantee']}"


def markdown(report: dict[str, Any]) -> str:
    """The calibration report for people."""
    held, distance = report["held_out"], report["distance"]
    return "\n".join(
        [
            "| | |", "|---|---|",
            f"| promised requests between false alarms | {report['promised_requests_between_false_alarms']:,.0f} |",
            f"| held out: alarms in requests | {held['alarms']} in {held['requests']:,} |",
            f"| held out: alarms that the promise allows | {held['alarms_promised_at_most']:g} |",
            f"| reference points | {report['references']:,} |",
            f"| calibration rows | {report['calibration']:,} |",
            f"| usual distance (5%, 50%, 95%, 99%) | {', '.join(str(value) for value in distance.values())} |",
            "", report["guarantee"] + ".",
        ]
    )  # fmt: skip
