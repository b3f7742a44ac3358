"""What a key of the configuration file is, and the types of those whose written form is not the one that is used.

A key is a field of a frozen dataclass whose annotation carries pydantic's `Field` with a description. Its type, limits,
default and meaning stand there and nowhere else: `gateway.config.read` has pydantic read the dataclass,
`gateway.config.reference` makes docs/configuration.md from it, `gateway.model.plain` its JSON form. A field without a
description is no key: it is set at run time.

Where what is written is not what is used, the type has a validator, which names the written type
(`json_schema_input_type`), and a serializer, which writes a default for the page. Pydantic is used while a file is read
only: the dataclasses check nothing when they are made.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from graduand.gateway import address
from graduand.gateway.errors import ConfigError
from graduand.gateway.model.clients import ClientKey


@dataclass(frozen=True, slots=True)
class Key:
    """One key: as it is written, with the name and the annotation of its field."""

    written: str
    name: str
    annotation: Any
    description: str


def keys_of(section: type) -> dict[str, Key]:
    """The keys of a section as they are written, in its order."""
    found = {}
    for name, annotation in get_type_hints(section, include_extras=True).items():
        if get_origin(annotation) is Annotated:
            about = next(
                (one for one in annotation.__metadata__ if isinstance(one, FieldInfo) and one.description), None
            )
            if about is not None and about.description:
                written = about.alias or name
                found[written] = Key(written, name, annotation, about.description)
    return found


def written_as(annotation: Any) -> Any:
    """The type that stands in the file: that of the validator, or what is annotated."""
    if get_origin(annotation) is not Annotated:
        return annotation
    validators = [one for one in annotation.__metadata__ if isinstance(one, BeforeValidator)]
    forms = [one.json_schema_input_type for one in validators if one.json_schema_input_type is not PydanticUndefined]
    return forms[-1] if forms else get_args(annotation)[0]


def basis_points(percent: float) -> int:
    """Percent to hundredths of a percent, exactly; raise ConfigError outside 0..100 or between two steps of 0.01."""
    if not 0 <= percent <= 100:  # NaN is refused here too, and so is what no float can hold
        raise ConfigError(f"{percent} is not between 0 and 100 percent")
    points = round(percent * 100)
    if abs(points - percent * 100) > 1e-6:
        raise ConfigError(f"{percent} is finer than the steps of 0.01 percent")
    return points


def _percent(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"must be a number of percent, 0 to 100 (it is {value!r})")
    return basis_points(value)


def _address(value: object) -> tuple[str, int]:
    if not isinstance(value, str):
        raise ConfigError("is not HOST:PORT, such as 127.0.0.1:8080")
    return address.parse(value)


def _shown(where: tuple[str, int]) -> str:
    return f"{where[0]}:{where[1]}"


FilePath = Annotated[str, BeforeValidator(lambda value: value, json_schema_input_type=Path)]


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where a secret is read from: exactly one of the two. A secret is never written in the file itself."""

    env: Annotated[str | None, Field(description="the name of an environment variable")] = None
    file: Annotated[FilePath | None, Field(description="a file that holds it; blanks around it are cut off")] = None


@dataclass(frozen=True, slots=True)
class Extra:
    """What goes with every request to an upstream: a header or a parameter. `secret`: it was read from elsewhere."""

    name: str
    value: str = field(repr=False)
    secret: bool = False


class Reader:
    """What reading a file needs of the world outside: pydantic hands it to the validators as its context."""

    def secret(self, source: Any) -> str:
        """The secret that `source` names; raise ConfigError if there is none."""
        raise NotImplementedError

    def client_keys(self, source: Any) -> "tuple[ClientKey, ...]":
        """The clients' keys in what `source` names; raise ConfigError if there is none."""
        raise NotImplementedError

    def headers(self, written: Any) -> "tuple[Extra, ...]":
        """Headers by name, each a text or where a secret is read from."""
        raise NotImplementedError

    def query(self, written: Any) -> "tuple[Extra, ...]":
        """Parameters of a query by name, each a text or where a secret is read from."""
        raise NotImplementedError

    def proxy(self, written: Any) -> str:
        """The address of a proxy, or that there is to be none."""
        raise NotImplementedError

    def state(self, url: str) -> str:
        """The address of a store, checked."""
        raise NotImplementedError

    def logs(self, url: str) -> str:
        """The address of a log, checked."""
        raise NotImplementedError


def read_by(method: Callable[[Reader, Any], Any], written: Any) -> BeforeValidator:
    """The validator of a key that needs the world outside; `written` is the type in the file."""

    def read(value: Any, info: ValidationInfo) -> Any:
        return getattr(info.context, method.__name__)(value)

    return BeforeValidator(read, json_schema_input_type=written)


Percent = Annotated[
    int,
    BeforeValidator(_percent, json_schema_input_type=Annotated[float, Field(ge=0, le=100)]),
    PlainSerializer(lambda points: points / 100),
]
Address = Annotated[tuple[str, int], BeforeValidator(_address, json_schema_input_type=str), PlainSerializer(_shown)]
Secret = Annotated[str, read_by(Reader.secret, SecretSource)]
ClientKeys = Annotated[tuple[ClientKey, ...], read_by(Reader.client_keys, SecretSource)]
Headers = Annotated[tuple[Extra, ...], read_by(Reader.headers, dict[str, str | SecretSource])]
Query = Annotated[tuple[Extra, ...], read_by(Reader.query, dict[str, str | SecretSource])]
ProxyUrl = Annotated[str, read_by(Reader.proxy, str | SecretSource)]
StateUrl = Annotated[str, read_by(Reader.state, str)]
LogsUrl = Annotated[str, read_by(Reader.logs, str)]
Dollars = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0, le=10**12)]  # so many fit into the shared counters
