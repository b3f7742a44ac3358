"""The page docs/configuration.md, made from the configuration's models: `python -m graduand.gateway.config.reference` writes it.

Each model of gateway.config.sections becomes a table under the paths at which it stands in the file; each key's description is
that of its field. A test compares the committed page.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from graduand.gateway.config.sections import ConfigFile

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
HEAD = """\
# Configuration

Made from `gateway/config/sections.py` and the sections it names by `python -m graduand.gateway.config.reference`; do not edit.

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


def page(model: type[BaseModel] = ConfigFile) -> str:
    """The whole page."""
    found: dict[type[BaseModel], list[str]] = {}
    _collect(model, "", found)
    return HEAD + "".join(_section(one, paths) for one, paths in found.items())


def _collect(model: type[BaseModel], path: str, found: dict[type[BaseModel], list[str]]) -> None:
    """Every model with the paths at which it stands, in the order of the file."""
    found.setdefault(model, []).append(path)
    for name, field in model.model_fields.items():
        for inner, step in _models(field.annotation):
            _collect(inner, f"{path}.{name}{step}".removeprefix("."), found)


def _models(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
        return
    step = {dict: ".NAME", list: "[]"}.get(get_origin(annotation), "")
    for inner in get_args(annotation):
        for model, further in _models(inner):
            yield model, step + further


def _section(model: type[BaseModel], paths: list[str]) -> str:
    title = ", ".join(f"`{path}`" for path in paths if path) or "The file"
    about = " ".join((model.__doc__ or "").split())
    rows = "".join(_row(name, field) for name, field in model.model_fields.items())
    return f"\n## {title}\n\n{about}\n\n| key | type | default | meaning |\n|---|---|---|---|\n{rows}"


def _row(name: str, field: FieldInfo) -> str:
    limits = _limits(field.metadata) or _inner_limits(field.annotation)
    kind = ", ".join([_type(field.annotation), *limits])
    return f"| `{name}` | {kind} | {_default(field)} | {field.description or ''} |\n"


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if origin in (Union, UnionType):
        return " or ".join(_type(one) for one in inner if one is not NoneType)
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return "sections by name" if list(_models(annotation)) else "mapping"
    return TYPES.get(annotation, "section")


def _limits(metadata: list[Any]) -> list[str]:
    return [f"{word} {getattr(one, key):g}" for one in metadata for key, word in BOUNDS.items() if hasattr(one, key)]


def _inner_limits(annotation: Any) -> list[str]:
    """The limits of an annotated part of `X | None`."""
    for one in get_args(annotation):
        if get_origin(one) is Annotated:
            return _limits([bound for field in one.__metadata__ for bound in getattr(field, "metadata", ())])
    return []


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel) or value == {}:
        return "-"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
