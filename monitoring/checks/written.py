"""Checks as a route writes them, and the defaults of each task. The pydantic edge: everything here runs once a table.

checks: [not_empty, refusal, {json: {schema: {type: object}, action: block}}, {label: {action: fallback}}, {truncated: flag}]
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from graduand.gateway.errors import ConfigError
from graduand.monitoring.checks import language, repetition
from graduand.monitoring.checks.check import Check
from graduand.monitoring.checks.empty import NotEmpty
from graduand.monitoring.checks.jsontext import JsonText
from graduand.monitoring.checks.judging import BLOCK, FALLBACK, FLAG, LIMIT_S, Armed
from graduand.monitoring.checks.label import LabelSet
from graduand.monitoring.checks.language import Language
from graduand.monitoring.checks.length import MaxLength
from graduand.monitoring.checks.own import LEAST, OwnCheck
from graduand.monitoring.checks.own import LIMIT_S as OWN_LIMIT_S
from graduand.monitoring.checks.patterns import PATTERNS, PatternCheck
from graduand.monitoring.checks.refusal import Refusal
from graduand.monitoring.checks.repetition import Repetition
from graduand.monitoring.checks.truncated import Truncated
from graduand.rollout.answers import tasks
from graduand.rollout.answers.schemas import schema_of
from graduand.rollout.answers.strict import Seconds, Strict, entry
from graduand.rollout.answers.tasks import Task


class CheckIn(Strict):
    """What every check takes."""

    action: Literal["fallback", "flag", "block"] = "fallback"
    time_limit: Seconds = LIMIT_S


class JsonIn(CheckIn):
    """`schema`: JSON Schema, in any of its drafts; draft 2020-12 unless it says otherwise. Without it, the task's."""

    json_schema: dict[str, Any] | None = Field(None, alias="schema")

    @field_validator("json_schema")
    @classmethod
    def _compiles(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            try:
                schema_of(schema)
            except ConfigError as error:
                why = str(error).removeprefix("task: schema: ")
                raise ValueError(f"is not a JSON Schema that can be used: {why}") from None
        return schema


class RepetitionIn(CheckIn):
    """See repetition.py for what the two measure."""

    ratio: float = Field(repetition.RATIO, gt=1)
    share: float = Field(repetition.SHARE, gt=0, lt=1)


class LanguageIn(CheckIn):
    """`expect`: a two-letter code (ISO 639-1)."""

    expect: str

    @field_validator("expect")
    @classmethod
    def _known(cls, expect: str) -> str:
        if expect not in language.BY_SCRIPT:
            raise ValueError(f"{expect!r} is not a language that is recognised: {', '.join(language.BY_SCRIPT)}")
        return expect


class OwnIn(CheckIn):
    """Your own: `url` is asked by POST, or `command` is run; see docs/checks.md."""

    name: str = Field(pattern="^[a-z][a-z0-9_-]{0,39}$")
    url: str = ""
    command: tuple[str, ...] = ()
    least: float = Field(LEAST, ge=0, le=1)
    time_limit: Seconds = Field(OWN_LIMIT_S, gt=0, le=60)

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in KNOWN:
            raise ValueError(f"{name!r} is the name of a check that is built in; give yours another")
        return name

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError(f"{url!r} is no address; write http://HOST:PORT/PATH")
        return url

    @model_validator(mode="after")
    def _one_of_both(self) -> "OwnIn":
        if bool(self.url) == bool(self.command):
            raise ValueError("give a url or a command, one of the two")
        return self


class MaxLengthIn(CheckIn):
    """In characters, since tokens are the upstream's."""

    characters: int = Field(gt=0)


Make = Callable[[Any, Task | None], Check]


def _label(_: Any, task: Task | None) -> Check:
    if task is None or task.kind != "label":
        raise ConfigError("checks (label): needs the route's task to be of kind label, which has the labels")
    return LabelSet(task.labels, task.field)


def _json(given: Any, task: Task | None) -> Check:
    if given.json_schema is not None:
        return JsonText(schema_of(given.json_schema))
    return JsonText(None if task is None else task.schema)


KNOWN: dict[str, tuple[type[CheckIn], Make]] = {
    "not_empty": (CheckIn, lambda *_: NotEmpty()),
    "truncated": (CheckIn, lambda *_: Truncated()),
    "refusal": (CheckIn, lambda *_: Refusal()),
    "label": (CheckIn, _label),
    "json": (JsonIn, _json),
    "repetition": (RepetitionIn, lambda given, _: Repetition(given.ratio, given.share)),
    "language": (LanguageIn, lambda given, _: Language(given.expect)),
    "max_length": (MaxLengthIn, lambda given, _: MaxLength(given.characters)),
    **{name: (CheckIn, lambda *_, name=name: PatternCheck(name)) for name in PATTERNS},
}
OWN = "own"
# What a single value after a check's name is: `max_length: 2000`; of the others it is the action.
SHORT = {"max_length": "characters", "language": "expect"}

# A label that was cut is found by `label`, and one that was not is a label: clients often ask for a single token.
DEFAULTS: dict[str, tuple[object, ...]] = {
    "label": ("not_empty", {"truncated": "flag"}, "label"),
    "json": ("not_empty", "truncated", "json"),
    "text": ("not_empty", "truncated", "refusal", "repetition", "secret"),
}


def read(written: Sequence[object] | None, task: Task | None) -> list[Armed | OwnCheck]:
    """The checks as written, or the task's defaults where nothing was; raise ConfigError with what is wrong."""
    if written is None:
        written = DEFAULTS[task.kind] if task is not None else ()
    armed = [_armed(item, task) for item in written]
    names = [one.name for one in armed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"checks: {twice} is there twice; give it once, with one action")
    return armed


def of_route(written: Sequence[object] | None, task: object | None) -> list[Armed | OwnCheck]:
    """The checks of a route from its two keys as they are written: `checks` and `task`."""
    return read(written, None if task is None else tasks.read(task))


def _armed(item: object, task: Task | None) -> Armed | OwnCheck:
    word = str(next(iter(item))) if isinstance(item, dict) and len(item) == 1 else str(item).partition(" ")[0]
    models: dict[str, type[Strict]] = {OWN: OwnIn, **{name: model for name, (model, _) in KNOWN.items()}}
    name, given = entry(item, models, SHORT.get(word, "action"), "checks")
    assert isinstance(given, CheckIn)
    if isinstance(given, OwnIn):
        return OwnCheck(
            given.name, given.action, url=given.url, command=given.command, least=given.least, limit_s=given.time_limit
        )
    return Armed(KNOWN[name][1](given, task), given.action, given.time_limit)


WORDS = {FALLBACK: "the teacher answers instead", FLAG: "only logged and counted", BLOCK: "the client gets an error"}


def explain(armed: Sequence[Armed | OwnCheck], *, release: str, fallback_behind: bool) -> str:
    """The checks in words, for `graduand check`."""
    if not armed:
        return "answers are not checked (no checks)"
    words = WORDS if fallback_behind else {**WORDS, FALLBACK: WORDS[BLOCK]}
    by_action = {action: [one.name for one in armed if one.action == action] for action in WORDS}
    parts = [f"{', '.join(names)} ({words[action]})" for action, names in by_action.items() if names]
    text = f"the student's answers are checked by {'; '.join(parts)}"
    if release == "observe" and any(one.action != FLAG for one in armed):
        text += "; streams are released unchecked (release: observe), so on them every check only logs and counts"
    return text
