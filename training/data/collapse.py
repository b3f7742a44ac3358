"""Collapse rules: several columns or many labels become the few that a student learns.

    {any: [toxic, insult, threat]}                    1 if any of the columns is true, else 0
    {column: queue, map: {billing-us: billing}}       the column's value, renamed where the map says so

Invariant: a value that the rule does not understand is `Unparsed`, never a class; in an `any` rule so is a column that is
missing, empty or -1 (Kaggle's "not scored"), unless another column already is true.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from graduand.rollout.answers.answers import Label, Unparsed
from graduand.rollout.answers.spelling import plain
from graduand.rollout.answers.strict import Strict

TRUE = ("1", "true", "yes")
FALSE = ("0", "false", "no")


class Collapse(Strict):
    """A rule as written; exactly one of `any` and `column`."""

    any: list[str] = Field(default_factory=list)
    column: str | None = None
    map: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> "Collapse":
        if bool(self.any) == (self.column is not None):
            raise ValueError("give either 'any' (columns) or 'column', and not both")
        return self


def collapse(rule: Collapse, record: Mapping[str, Any]) -> Label | Unparsed:
    """The label of one record.

    >>> rule = Collapse(any=["toxic", "insult"])
    >>> collapse(rule, {"toxic": "0", "insult": 1}), collapse(rule, {"toxic": 0, "insult": -1})
    (Label(value='1'), Unparsed(reason="column 'insult' holds '-1', which is neither true nor false"))
    >>> collapse(Collapse(column="queue", map={"billing-us": "billing"}), {"queue": "billing-us"})
    Label(value='billing')
    """
    if rule.column is not None:
        value = record.get(rule.column)
        if value is None or not str(value).strip():
            return Unparsed(f"column {rule.column!r} is empty")
        return Label(rule.map.get(str(value), str(value)))
    unread = ""
    for name in rule.any:
        spelling = "" if record.get(name) is None else plain(record[name])
        if spelling in TRUE:
            return Label("1")
        if spelling not in FALSE:
            unread = unread or f"column {name!r} holds {spelling!r}, which is neither true nor false"
    return Unparsed(unread) if unread else Label("0")
