"""Dataclasses as JSON data and back, by their types: one function each way for whatever the supervisor hands to the processes.

Invariant: `from_plain(type(one), json.loads(json.dumps(asdict(one)))) == one` for dataclasses of dataclasses, tuples, mappings
with text as keys, and plain values. In a union an object is a dataclass's or a mapping's, and a list a tuple's.
"""

from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_plain(kind: type[T], data: Any) -> T:
    """The instance of `kind` that `dataclasses.asdict` and JSON made `data` of."""
    return _read(kind, data)  # type: ignore[no-any-return]


def _read(kind: Any, data: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _read(inner[0], data)
    if origin in (Union, UnionType):
        return _read(_meant(inner, data), data)
    if is_dataclass(kind):
        types = _types(kind)  # type: ignore[arg-type]
        return kind(**{name: _read(types[name], value) for name, value in data.items()})  # type: ignore[operator]
    if origin is tuple and inner[-1:] == (...,):
        return tuple(_read(inner[0], one) for one in data)
    if origin is tuple:
        return tuple(_read(one, value) for one, value in zip(inner, data, strict=True))
    if origin is dict:
        return {key: _read(inner[1], value) for key, value in data.items()}
    return data


def _meant(kinds: tuple[Any, ...], data: Any) -> Any:
    """Which part of a union `data` is."""
    wanted = {dict: (dict,), list: (tuple,), tuple: (tuple,), NoneType: (NoneType,)}.get(type(data))
    for kind in kinds:
        bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        shape = dict if is_dataclass(bare) else get_origin(bare) or bare
        if (wanted is None and shape not in (dict, tuple, NoneType)) or (wanted is not None and shape in wanted):
            return kind
    return Any


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
