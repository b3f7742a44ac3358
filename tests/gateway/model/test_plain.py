"""Settings as JSON and back: whatever they hold, and whatever key is added."""

import json
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.model.monitors import Monitor
from graduand.gateway.model.plain import from_plain
from graduand.gateway.model.routes import Replica, Settings, settings_from_json, settings_to_json

TEXT = st.text(max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT, int: st.integers(), float: st.floats(allow_nan=False), bool: st.booleans(), type(None): st.none(), Any: JSON,
}  # fmt: skip


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type, by what it consists of: a new field needs nothing here."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return anything(inner[0])
    if origin in (Union, UnionType):
        return st.one_of([anything(one) for one in inner])
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is dict:
        return st.dictionaries(TEXT, anything(inner[1]), max_size=2)
    if origin is tuple and inner[1:] == (...,):
        return st.lists(anything(inner[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(anything(one) for one in inner))
    if kind is Monitor:  # its action and its share go together
        return st.sampled_from(
            [Monitor(), Monitor(action="lower", share_bp=250), Monitor(resume="auto", min_time_s=0.5)]
        )
    if is_dataclass(kind):
        types = get_type_hints(kind)
        return st.deferred(lambda: st.builds(kind, **{one.name: anything(types[one.name]) for one in fields(kind)}))
    return SIMPLE[kind]


@given(anything(Settings))
def test_whole_settings_survive_the_way_to_the_processes(settings: Settings) -> None:
    assert settings_from_json(json.loads(json.dumps(settings_to_json(settings)))) == settings


@dataclass(frozen=True, slots=True)
class Shapes:
    """Every shape that a field may have."""

    one: Replica | None
    either: tuple[str | Replica, ...]
    pair: tuple[str, int]
    named: dict[str, Replica | None]
    free: Any = None


REPLICA = Replica("http", "h", 1, "")


@pytest.mark.parametrize(
    "shapes",
    [
        Shapes(None, (), ("a", 1), {}),
        Shapes(REPLICA, ("x", REPLICA), ("", 0), {"a": REPLICA, "b": None}, {"scheme": ["http"]}),
        Shapes(REPLICA, (REPLICA,), ("", 0), {}, [{"one": None}]),
    ],
)
def test_every_shape_comes_back(shapes: Shapes) -> None:
    assert from_plain(Shapes, json.loads(json.dumps(asdict(shapes)))) == shapes
