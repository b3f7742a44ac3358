"""The page docs/configuration.md, made from the sections: `python -m graduand.gateway.config.reference` writes it.

Each section of gateway.model.routes becomes a table under the paths at which it stands in the file; each key's description is
that of its field. A test compares the committed page.
"""

import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import PlainSerializer

from graduand.gateway.model.keys import Key, keys_of, written_as
from graduand.gateway.model.routes import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
HEAD = """\
# Configuration

Made from `Settings` in `gateway/model/routes.py` by `python -m graduand.gateway.config.reference`; do not edit.

One YAML file, `graduand serve --config FILE`. `graduand check --config FILE` refuses unknown keys with the nearest known one
and says in words what the file does; exit code 2 if it is not valid. Units stand in the meaning; percent go from 0 to 100 in
steps of 0.01. `NAME` is a name that you choose. SIGHUP to `graduand serve` reads the file again; a change of `listen`,
`admin`, `workers`, `state`, `state_password`, `logs`, `record` or `tracing` needs a restart, and an invalid file changes
nothing. What was changed at run time (`graduand routes set`, rollouts) wins over the file until `routes set --from-file`.
A rollout's specification is a file of its own ([rollouts](rollouts.md)), and so is a training run's ([training](training.md)).

Environment variables that are not named in the file: `GRADUAND_ADMIN` (the admin plane that commands talk to),
`GRADUAND_WHO` (who is written into the audit trail), `GRADUAND_CACHE` (the converted base model), `AWS_*` and `GOOGLE_*`
(credentials of a bucket, [log](logs.md)), `OTEL_EXPORTER_OTLP_*` ([traces](observability.md)).

```yaml
upstreams:
  openai: {kind: openai, base_urls: [https://api.openai.com/v1], api_key: {env: OPENAI_API_KEY}}
  gpu: {kind: vllm, base_urls: [http://127.0.0.1:8000/v1]}
routes:
  support-triage:
    teacher: {upstream: openai, model: gpt-4o}
    student: {upstream: gpu, adapter: support-triage@3f9c1a0b22de}
    mode: canary
    weight: 10
    unit: user
```
"""
TYPES: dict[Any, str] = {
    str: "text", Path: "path", bool: "true or false", int: "whole number", float: "number", Any: "anything",
}  # fmt: skip
BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def page(section: type = Settings) -> str:
    """The whole page."""
    found: dict[type, list[str]] = {}
    _collect(section, "", found)
    return HEAD + "".join(_section(one, paths) for one, paths in found.items())


def _collect(section: type, path: str, found: dict[type, list[str]]) -> None:
    """Every section with the paths at which it stands, in the order of the file."""
    found.setdefault(section, []).append(path)
    for key in keys_of(section).values():
        for inner, step in _sections(key.annotation):
            _collect(inner, f"{path}.{key.written}{step}".removeprefix("."), found)


def _sections(annotation: Any) -> Iterator[tuple[type, str]]:
    kind = written_as(annotation)
    if isinstance(kind, type) and is_dataclass(kind):
        yield kind, ""
        return
    step = {dict: ".NAME", tuple: "[]"}.get(get_origin(kind), "")
    for inner in get_args(kind):
        for section, further in _sections(inner):
            yield section, step + further


def _section(section: type, paths: list[str]) -> str:
    title = ", ".join(f"`{path}`" for path in paths if path) or "The file"
    about = " ".join((section.__doc__ or "").partition("\n\n")[0].split())
    rows = "".join(_row(section, key) for key in keys_of(section).values())
    return f"\n## {title}\n\n{about}\n\n| key | type | default | meaning |\n|---|---|---|---|\n{rows}"


def _row(section: type, key: Key) -> str:
    kind = ", ".join([_type(key.annotation), *_limits(key.annotation)])
    return f"| `{key.written}` | {kind} | {_default(section, key)} | {key.description} |\n"


def _type(annotation: Any) -> str:
    kind = written_as(annotation)
    if kind is not annotation:
        return _type(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if origin in (Union, UnionType):
        return " or ".join(_type(one) for one in inner if one is not NoneType)
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return "sections by name" if is_dataclass(written_as(inner[1])) else "mapping"
    return TYPES.get(kind, "section")


def _limits(annotation: Any) -> list[str]:
    """The limits of a number, also those of a part of `X | None`."""
    if get_origin(annotation) is Annotated:
        bounds = [bound for one in annotation.__metadata__ for bound in getattr(one, "metadata", ())]
        own = [
            f"{word} {getattr(one, name):,.15g}"
            for name, word in BOUNDS.items()
            for one in bounds
            if hasattr(one, name)
        ]
        return own or _limits(written_as(annotation))
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    return [limit for one in parts for limit in _limits(one)]


def _default(section: type, key: Key) -> str:
    """As it would be written."""
    field = next(one for one in fields(section) if one.name == key.name)
    if field.default is MISSING and field.default_factory is MISSING:
        return "**required**"
    value = field.default
    for one in key.annotation.__metadata__:
        value = one.func(value) if isinstance(one, PlainSerializer) else value  # type: ignore[call-arg]
    if (
        value in (None, MISSING)
        or is_dataclass(value)
        or (value == () and get_origin(written_as(key.annotation)) is dict)
    ):
        return "-"
    value = f"{value:g}" if isinstance(value, float) else value
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
