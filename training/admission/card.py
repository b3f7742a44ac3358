"""The model card of an admitted adapter: what it is, what it learned from, what it scored, what it proved. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from graduand.training.stages import markdown

HEADER = """---
base_model: {base}
library_name: peft
pipeline_tag: text-generation
tags: [lora, distillation]
---"""


def card(
    name: str,
    run: Mapping[str, Any],
    admission: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
    reference: bool,
) -> str:
    """The card as Markdown; `scores` are the rows of `train evaluate`, if it was evaluated; `reference` if there is one."""
    base, data = run["base"], run["data"]
    parts = [
        HEADER.format(base=base["name"]),
        f"# {name}",
        f"A LoRA adapter of `{base['name']}` at `{base['revision']}`, distilled from a teacher's answers.",
        "## Data",
        markdown.as_list(
            (
                f"{data['rows']} rows, SHA-256 {data['sha256']}",
                "the reference set for drift monitors lies in reference/"
                if reference
                else "no reference set for drift",
            )
        ),
        _road(data.get("road", ())),
        "## Training",
        markdown.table(("setting", "value"), sorted(_settings(run).items())),
        "## Scores",
        _scores(scores),
        "## Admission",
        markdown.table(
            ("check", "passed", "what came out"),
            [(check["name"], "yes" if check["passed"] else "NO", check["detail"]) for check in admission["checks"]],
        ),
        f"Admitted {admission['at']} by graduand {admission['graduand']} on {admission['engine']}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _settings(run: Mapping[str, Any]) -> dict[str, Any]:
    hidden = {"data", "out", "name", "base", "threads", "checkpoint_steps"}
    return {key: value for key, value in run["config"].items() if key not in hidden and value is not None}


def _road(road: Sequence[Mapping[str, Any]]) -> str:
    """The stages that made the data, the last one first."""
    if not road:
        return "The rows were not made by a stage of `graduand train`; nobody recorded where they are from."
    lines = [(stage["name"], _facts(stage)) for stage in road]
    return markdown.table(("made by", "with"), lines)


def _facts(stage: Mapping[str, Any]) -> str:
    given = "; ".join(f"{key}: {value}" for key, value in stage["parameters"].items())
    return given if len(given) <= 300 else given[:299] + "…"


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return "Not evaluated: run `graduand train evaluate`, then admit it again with `--evaluation`."
    lines = [
        (row["what"], row["test_set"], row["rows"], f"{row['accuracy']:.4f}", f"{row['low']:.3f} to {row['high']:.3f}")
        for row in scores
    ]
    return markdown.table(("what", "test set", "rows", "accuracy", "95% interval"), lines)
