"""What a route's answers are, as declared on the route: a label, an object, or free text.

task: {kind: label, labels: ["0", "1"], field: is_bad}
task: {kind: json, fields: {category: text, amount: number, tags: set}}
task: {kind: json, schema: {type: object, required: [category]}}
task: {kind: text, rubric: helpful and polite, judge: {upstream: openai, model: gpt-4.1}}
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from graduand.gateway.errors import ConfigError, did_you_mean
from graduand.rollout.answers.schemas import Schema, schema_of
from graduand.rollout.answers.spelling import identity, plain
from graduand.rollout.answers.strict import Strict, checked

Kind = Literal["label", "json", "text"]


@dataclass(frozen=True, slots=True)
class Judge:
    """Who compares free text: a model of one of the configuration's upstreams, and how much it may be asked."""

    upstream: str
    model: str
    sample: float  # share of the pairs that it is asked about, drawn by their ids
    max_per_day: int  # pairs of one rollout in a day (UTC); each costs two questions
    max_contradictions: float = 0.2  # share of pairs in which it may change its mind when the order is swapped


@dataclass(frozen=True, slots=True)
class Task:
    """A resolved task."""

    kind: Kind
    labels: Mapping[str, str]  # normalised spelling to label
    field: str | None  # label tasks: the field of the answer's object that holds the label
    fields: Mapping[str, str]  # json tasks: field (dots go deeper) to the name of its normaliser; empty: all, as text
    rubric: str  # text tasks: what the judge is to look for
    schema: Schema | None = None  # json tasks: an answer that does not fit it counts as one that cannot be read
    judge: Judge | None = None  # text tasks: without one, nothing can be proved


MINUS = "\u2212"  # as typesetters write it


def exact(value: object) -> object:
    """Equal as JSON values."""
    return value


def text(value: object) -> object:
    """Case, blanks and what is put around a value do not matter; a number equals its spelling."""
    return None if value is None else plain(value)


def number(value: object) -> object:
    """`"1,200.50"` equals 1200.5; equal to six significant digits.

    >>> number("1,200.50") == number(1200.5), number("n/a")
    (True, 'n/a')
    """
    try:
        return f"{float(str(value).replace(',', '').replace(MINUS, '-').strip()):.6g}"
    except ValueError:
        return text(value)


def date(value: object) -> object:
    """ISO dates with or without time of day and dashes; only the day counts.

    >>> date("2024-03-01T10:00:00Z") == date("20240301")
    True
    """
    try:
        return datetime.fromisoformat(str(value).strip()).date().isoformat()
    except ValueError:
        return text(value)


def as_set(value: object) -> object:
    """A list whose order and repetitions do not matter."""
    return sorted({plain(item) for item in value}) if isinstance(value, list) else [text(value)]


NORMALISERS: dict[str, Callable[[object], object]] = {
    "exact": exact,
    "text": text,
    "number": number,
    "date": date,
    "set": as_set,
}


class JudgeIn(Strict):
    """A judge as written."""

    upstream: str = Field(min_length=1)
    model: str = Field(min_length=1)
    sample: float = Field(1.0, gt=0, le=1)
    max_per_day: int = Field(2000, ge=1)
    max_contradictions: float = Field(0.2, gt=0, lt=1)


class TaskIn(Strict):
    """A task as written."""

    kind: Kind
    labels: list[str | int | bool] = Field(default_factory=list)
    aliases: dict[str, str] = Field(default_factory=dict)
    field: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    rubric: str = "correct, complete and to the point"
    schema_: dict[str, Any] | None = Field(None, alias="schema")  # its plain name is taken by pydantic
    judge: JudgeIn | None = None


def read(data: object) -> Task:
    """The resolved task, or a ConfigError that says what is wrong."""
    written = checked(TaskIn, data, "task")
    labels = {identity(label): str(label) for label in written.labels}
    if written.kind == "label" and (len(labels) < 2 or len(labels) < len(written.labels)):
        raise ConfigError("task: a label task needs two labels or more, with spellings that differ")
    for alias, label in written.aliases.items():
        if identity(label) not in labels:
            raise ConfigError(f"task: alias {alias!r} stands for {label!r}, which is none of the labels")
        labels[identity(alias)] = labels[identity(label)]
    for name, normaliser in written.fields.items():
        if normaliser not in NORMALISERS:
            hint = did_you_mean(normaliser, NORMALISERS)
            raise ConfigError(f"task: field {name!r}: {normaliser!r} is no normaliser.{hint} {', '.join(NORMALISERS)}")
    schema = None if written.schema_ is None else schema_of(written.schema_)
    if schema is not None and written.kind != "json":
        raise ConfigError(f"task: a schema is for objects, and this task's kind is {written.kind}; use kind: json")
    if written.judge is not None and written.kind != "text":
        raise ConfigError(f"task: a judge compares free text, and this task's kind is {written.kind}; take judge out")
    judge = None if written.judge is None else Judge(**written.judge.model_dump())
    return Task(written.kind, labels, written.field, written.fields, written.rubric, schema, judge)


def check_judge(task: Task, upstreams: Mapping[str, str]) -> None:
    """Raise ConfigError if the judge cannot be asked; `upstreams` has the kind of each of the configuration's."""
    if task.judge is None:
        return
    name = task.judge.upstream
    if name not in upstreams:
        hint = did_you_mean(name, upstreams) or f" There are: {', '.join(upstreams)}."
        raise ConfigError(f"task: judge.upstream: there is no upstream {name!r}.{hint}")
    if upstreams[name] in ("lorax", "anthropic"):
        raise ConfigError(
            f"task: judge.upstream: {name} is of kind {upstreams[name]}; a judge must speak OpenAI's chat API"
        )
