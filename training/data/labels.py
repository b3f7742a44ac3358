"""Label tasks in training: which task, what a sample's labels are, and how a label is written as a completion.

Answers are read by rollout/answers/answers.py, so training and rollout cannot disagree about what an answer says. Invariant: what
cannot be read is `Unparsed` with its reason, and never a class.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from graduand.gateway.errors import ConfigError
from graduand.rollout.answers import tasks
from graduand.rollout.answers.answers import Label, Unparsed
from graduand.rollout.answers.compare import label_of
from graduand.rollout.answers.spelling import find
from graduand.rollout.answers.tasks import Task
from graduand.training.data.samples import Sample

IS_BAD: dict[str, Any] = {"kind": "label", "labels": ["0", "1"], "field": "is_bad"}


def read_task(given: str) -> Task:
    """A label task from a YAML file, or from YAML itself: `{labels: [billing, delivery]}`. `kind` may be left out."""
    return task_of(decoded(given))


def read_any_task(given: str) -> Task:
    """A task of any kind, written as `read_task` reads it; without a `kind` it is a label task."""
    data = decoded(given)
    return tasks.read({"kind": "label", **data} if isinstance(data, dict) else data)


def decoded(given: str) -> Any:
    """A task as it is written in a YAML file, or in YAML itself."""
    path = Path(given)
    try:
        data = yaml.safe_load(path.read_bytes() if not given.lstrip().startswith("{") else given)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"cannot read the task {given!r} ({error}); give a YAML file or e.g. '{{labels: [billing, other]}}'"
        ) from error
    return data.get("task", data) if isinstance(data, dict) else data


def task_of(data: Any) -> Task:
    """The label task that decoded YAML describes."""
    task = tasks.read({"kind": "label", **data} if isinstance(data, dict) else data)
    if task.kind != "label":
        raise ConfigError(f"task: this stage needs labels, and the task's kind is {task.kind!r}")
    return task


def names(task: Task) -> list[str]:
    """The task's labels in the order in which they were declared."""
    return list(dict.fromkeys(task.labels.values()))


def as_json(task: Task) -> dict[str, Any]:
    """The task as a stage's parameter."""
    return {"labels": dict(task.labels), "field": task.field}


def completion(task: Task, label: str) -> str:
    """How a student is to write `label`: shortest form that the task's reader understands.

    >>> completion(task_of(IS_BAD), "1"), completion(task_of({"labels": ["a", "b"]}), "b")
    ('{"is_bad": 1}', 'b')
    """
    if task.field is None:
        return label
    try:
        value = json.loads(label)
    except ValueError:
        value = label
    return json.dumps({task.field: value if isinstance(value, int | float) else label}, ensure_ascii=False)


def gold(task: Task, sample: Sample) -> Label | Unparsed:
    """What a person said: a label's spelling, or an answer that has it."""
    if sample.gold is None:
        return Unparsed("no gold")
    label = find(task.labels, sample.gold)
    return Label(label) if label is not None else label_of(task, sample.gold)


def answered(task: Task, sample: Sample, teacher: str) -> Label | Unparsed:
    """What the recorded answer of `teacher` says."""
    raw = sample.answers.get(teacher)
    return Unparsed(f"no answer of {teacher}") if raw is None else label_of(task, raw)


def learned(task: Task, sample: Sample) -> Label | Unparsed:
    """What the sample's completion says: the label that a student would learn."""
    return Unparsed("no completion") if sample.completion is None else label_of(task, sample.completion)


def said_by(task: Task, sample: Sample, source: str) -> Label | Unparsed:
    """The label by `gold`, by the `completion`, or by the recorded answer of the teacher of that name."""
    if source == "gold":
        return gold(task, sample)
    return learned(task, sample) if source == "completion" else answered(task, sample, source)


def labelled(task: Task, samples: Iterable[Sample], source: str) -> tuple[list[Sample], list[str], dict[str, str]]:
    """The samples whose label by `source` can be read, the labels, and for each other sample's id the reason why not."""
    kept: list[Sample] = []
    found: list[str] = []
    refused: dict[str, str] = {}
    for sample in samples:
        label = said_by(task, sample, source)
        if isinstance(label, Unparsed):
            refused[sample.id] = label.reason
        else:
            kept.append(sample)
            found.append(label.value)
    return kept, found, refused
