"""A key is declared once: reading, defaults, the way to the processes and the page follow, and so do refusals."""

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import Field, TypeAdapter

from graduand.gateway.config import read as config
from graduand.gateway.config import reference
from graduand.gateway.config.read import RENAMED, Outside, parse
from graduand.gateway.errors import ConfigError
from graduand.gateway.model.keys import Percent, keys_of, written_as
from graduand.gateway.model.plain import from_plain
from graduand.gateway.model.routes import Route, Settings, Teacher, Upstream

WHOLE: dict[str, Any] = {
    "upstreams": {"u": {"kind": "vllm", "base_urls": ["http://h/v1"], "api_key": {"env": "KEY"}}},
    "routes": {
        "r": {
            "teacher": {"upstream": "u", "model": "m"},
            "student": {"upstream": "u", "adapter": "a"},
            "timeouts": {},
            "shadow_budget": {},
            "audit_budget": {},
            "monitors": {
                "reference": {"from_log": 100}, "novelty": {}, "mix": {}, "descriptors": {}, "check_failures": {},
                "outputs": {},
            },
        }
    },
    "record": {"redact": ["email", {"name": "x", "pattern": "y"}]},
    "client_keys": {"env": "KEY"},
    "client_limits": {},
    "state": "redis://h",
    "state_password": {"env": "KEY"},
    "prices": {"m": {"input": 1, "output": 2}},
    "tracing": {"endpoint": "http://h"},
    "adapters": {"hub_token": {"env": "KEY"}},
}  # fmt: skip
ENVIRON = {"KEY": "sk-1"}


@dataclass(frozen=True, slots=True)
class NewRoute(Route):
    """A route with one key more: these three lines are all that it takes."""

    patience_bp: Annotated[Percent, Field(alias="patience", description="percent of requests that may wait")] = 150
    tone: Annotated[Literal["dry", "warm"] | None, Field(description="how the answers sound")] = None


def test_a_new_key_is_declared_in_one_place() -> None:
    data = {"name": "r", "teacher": {"upstream": "u", "model": "m"}, "patience": 2.5, "tone": "dry"}
    read = TypeAdapter(NewRoute).validate_python(data, context=Outside({}))
    assert (read.patience_bp, read.tone) == (250, "dry")
    assert NewRoute("r", Teacher("u", "m")).patience_bp == 150
    assert from_plain(NewRoute, json.loads(json.dumps(asdict(read)))) == read
    page = reference.page(NewRoute)
    assert "| `patience` | number, at least 0, at most 100 | `1.5` | percent of requests that may wait |" in page
    assert "| `tone` | `dry`, `warm` | - | how the answers sound |" in page
    [refused] = config._unknown(NewRoute, {"patients": 1}, "")
    assert refused.startswith("unknown key 'patients'. Did you mean 'patience'")


def sections(value: Any, kind: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], type]]:
    """Every section in the data, with its path and its class."""
    kind = written_as(kind)
    if is_dataclass(kind) and isinstance(value, dict):
        assert isinstance(kind, type)
        yield at, kind
        for key in keys_of(kind).values():
            if key.written in value:
                yield from sections(value[key.written], key.annotation, (*at, key.written))
        return
    if get_origin(kind) in (Union, UnionType):
        inside: Any = [(at, value)]
    else:
        parts = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
        inside = [((*at, name), one) for name, one in parts]
    for place, one in inside:
        for inner in get_args(kind):
            yield from sections(one, inner, place)


PLACES = sorted({(at, kind) for at, kind in sections(WHOLE, Settings)}, key=str)


def with_key(at: tuple[str | int, ...], key: str) -> dict[str, Any]:
    data = copy.deepcopy(WHOLE)
    section: Any = data
    for step in at:
        section = section[step]
    section[key] = 1
    return data


def refusal(data: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(data, where="test.yaml", environ=ENVIRON)
    return str(refused.value)


def test_the_whole_file_is_right_and_reaches_every_section() -> None:
    parse(WHOLE, where="test.yaml", environ=ENVIRON)
    found: dict[type, list[str]] = {}
    reference._collect(Settings, "", found)
    assert {kind for _, kind in PLACES} == set(found)


@pytest.mark.parametrize(("at", "section"), PLACES, ids=[".".join(map(str, at)) for at, _ in PLACES])
def test_an_unknown_key_is_refused_with_the_nearest_one_everywhere(at: tuple[str | int, ...], section: type) -> None:
    for key in keys_of(section):
        near = f"{key}x"
        said = refusal(with_key(at, near))
        where = "".join(f"{step}." for step in at)
        assert f"unknown key '{where}{near}'. Did you mean " in said
        assert repr(key) in said


@pytest.mark.parametrize(("section", "old"), RENAMED, ids=[old for _, old in RENAMED])
def test_a_renamed_key_is_refused_with_its_new_name(section: type, old: str) -> None:
    new = RENAMED[section, old]
    assert new in keys_of(section)
    assert old not in keys_of(section)
    for at, kind in PLACES:
        if kind is section:
            assert f"{old}'. It is called {new!r} now." in refusal(with_key(at, old))


@pytest.mark.parametrize("name", ["name", "salt", "rollout", "version", "incumbent", "limit_bp", "weight_bp"])
def test_what_is_set_at_run_time_is_no_key(name: str) -> None:
    assert name not in keys_of(Route)
    assert f"unknown key 'routes.r.{name}'" in refusal(with_key(("routes", "r"), name))


def test_every_section_says_what_each_key_means() -> None:
    for _, section in PLACES:
        assert all(key.description for key in keys_of(section).values())
    assert "name" not in keys_of(Upstream)
