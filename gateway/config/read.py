"""The configuration file: read by pydantic, key by key, into the frozen dataclasses of gateway.model.

`load(path)` reads YAML, refuses unknown keys with the nearest known one, reads secrets from the environment or from
files, and returns `Settings` or raises ConfigError, nothing else. It changes nothing and starts nothing. The keys are those
of gateway.model.routes; what several of them must agree on is in gateway.config.consistency.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from graduand.gateway.address import local_path
from graduand.gateway.config import yamltext
from graduand.gateway.config.consistency import problems
from graduand.gateway.errors import ConfigError, did_you_mean
from graduand.gateway.logs import places
from graduand.gateway.model import outbound
from graduand.gateway.model.clients import ClientKey, read_keys
from graduand.gateway.model.keys import Extra, Reader, SecretSource, keys_of, written_as
from graduand.gateway.model.monitors import Monitors
from graduand.gateway.model.routes import DIRECT, HEADER_NAME, Route, Settings
from graduand.gateway.state import redis_client

SETTINGS = TypeAdapter(Settings)
# What a key was called before, by its section.
RENAMED = {(Route, "gates"): "checks", (Monitors, "gate_failures"): "check_failures"}
# What stands where a secret should be named may be the secret itself, and an address may hold one.
MAY_BE_SECRET = {
    "api_key", "client_keys", "state_password", "hub_token", "base_urls", "state", "endpoint", "headers", "query", "proxy",
}  # fmt: skip
# What such headers and parameters hold is a secret, which never stands in the file.
SECRET_NAME = re.compile(r"key|token|secret|passw|auth|cookie|credential|signature", re.I)
# Each request has its own of these, or the connection has.
GATEWAYS_OWN = frozenset({
    "host", "content-type", "content-length", "content-encoding", "transfer-encoding", "accept-encoding", "connection",
    "keep-alive", "te", "trailer", "upgrade", "expect", "proxy-authorization", "proxy-connection", "x-request-id",
    "traceparent", "tracestate",
})  # fmt: skip


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the configuration file; raise ConfigError with every problem found, one a line."""
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from error
    data = yamltext.read(text, str(path))
    return parse(data, where=str(path), environ=os.environ if environ is None else environ)


def parse(data: Any, *, where: str, environ: Mapping[str, str]) -> Settings:
    """Check configuration data that was already read; `where` names its source in error messages."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where} must hold a mapping with 'upstreams' and 'routes'; see the README for an example")
    found = yamltext.not_plain(data) or list(_unknown(Settings, data, ""))
    if not found:
        try:
            settings = SETTINGS.validate_python(data, context=Outside(environ))
        except ValidationError as error:
            found = [_sentence(one) for one in error.errors()]
        else:
            found = [*problems(settings), *_proxies(settings, environ)]
    if found:
        raise ConfigError(f"{where} is not a valid configuration:\n" + "\n".join(f"  - {line}" for line in found))
    return settings


def _proxies(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the proxies on the way to the upstreams."""
    for name, upstream in settings.upstreams.items():
        try:
            for replica in upstream.replicas:
                outbound.proxy_of(upstream, replica, environ)
        except ConfigError as error:
            yield f"upstreams.{name}: {error}"


def _unknown(kind: Any, value: Any, at: str) -> Iterator[str]:
    """The unknown keys in what stands at `at`, which is to be of this kind."""
    kind = written_as(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(value, dict) and is_dataclass(kind):
        assert isinstance(kind, type)
        yield from _unknown_keys(kind, value, at)
    elif isinstance(value, dict) and origin is dict:
        for name, one in value.items():
            yield from _unknown(inner[1], one, f"{at}{name}.")
    elif isinstance(value, list) and origin is tuple:
        for number, one in enumerate(value):
            yield from _unknown(inner[0], one, f"{at}{number}.")
    elif origin in (Union, UnionType):
        for one in inner:
            if one is not NoneType:
                yield from _unknown(one, value, at)


def _unknown_keys(section: type, data: Mapping[str, Any], at: str) -> Iterator[str]:
    keys = keys_of(section)
    for name, value in data.items():
        if name in keys:
            yield from _unknown(keys[name].annotation, value, f"{at}{name}.")
        elif (section, name) in RENAMED:
            yield f"unknown key '{at}{name}'. It is called {RENAMED[section, name]!r} now."
        else:
            hint = did_you_mean(name, keys) or f" Known keys: {', '.join(keys)}."
            yield f"unknown key '{at}{name}'.{hint}"


def _sentence(error: ErrorDetails) -> str:
    place, given = ".".join(str(part) for part in error["loc"]), error.get("input")
    said = error["msg"].removeprefix("Value error, ")
    for ours, yours in (("a dictionary or an instance of ", "a mapping: "), ("tuple", "list"), ("Tuple", "List")):
        said = said.replace(ours, yours)
    silent = error["type"] in ("missing", "value_error") or not MAY_BE_SECRET.isdisjoint(error["loc"])
    return f"{place}: {said}" + ("" if silent or isinstance(given, dict | list) else f" (it is {_short(given)})")


def _short(given: object) -> str:
    try:
        text = repr(given)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a very long number"
    return text if len(text) <= 200 else f"{text[:200]}…"


class Outside(Reader):
    """What keys need of the world outside."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    def secret(self, source: Any) -> str:
        """The secret in the environment variable or in the file, one line."""
        return _sendable(self._text(source))

    def client_keys(self, source: Any) -> tuple[ClientKey, ...]:
        """The clients' keys in the environment variable or in the file."""
        return read_keys(self._text(source))

    def headers(self, written: Any) -> tuple[Extra, ...]:
        """Headers with names in lower case, none of them the gateway's own."""
        found = tuple(self._extras(written))
        for one in found:
            if not HEADER_NAME.fullmatch(one.name):
                raise ConfigError(f"{one.name!r} is not the name of a header")
            if one.name.lower() in GATEWAYS_OWN:
                raise ConfigError(f"{one.name} is set by the gateway itself")
        lower = tuple(replace(one, name=one.name.lower()) for one in found)
        if len({one.name for one in lower}) < len(lower):
            raise ConfigError("the same header is given twice; capitals make no difference")
        return lower

    def query(self, written: Any) -> tuple[Extra, ...]:
        """Parameters of a query."""
        return tuple(self._extras(written))

    def _extras(self, written: Any) -> Iterator[Extra]:
        if not isinstance(written, dict):
            raise ConfigError("must be a mapping of names, such as {api-key: {env: AZURE_API_KEY}}")
        for name, value in written.items():
            try:
                if isinstance(value, dict):
                    yield Extra(name, self.secret(value), secret=True)
                elif not isinstance(value, str):
                    raise ConfigError("must be a text; put it in quotes")
                elif SECRET_NAME.search(name):
                    raise ConfigError("must be {env: NAME} or {file: PATH}; a secret itself never stands in the file")
                else:
                    yield Extra(name, _sendable(value))
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None

    def proxy(self, written: Any) -> str:
        """The address of a proxy; one with a password is not written in the file."""
        if isinstance(written, str) and "@" in written:
            raise ConfigError("a password belongs into {env: NAME} or {file: PATH}, with the whole address")
        text = written if isinstance(written, str) else self.secret(written)
        if text != DIRECT:
            outbound.read_proxy(text)
        return text

    def _text(self, source: Any) -> str:
        if not isinstance(source, dict):
            raise ConfigError("must be {env: NAME} or {file: PATH}; the secret itself never stands in the file")
        named = SecretSource(**source)
        given = [one for one in (named.env, named.file) if one is not None]
        if len(given) != 1 or not isinstance(given[0], str):
            raise ConfigError("give exactly one of env and file, such as {env: OPENAI_API_KEY}")
        return self._variable(named.env) if named.env is not None else _content(given[0])

    def _variable(self, name: str) -> str:
        if name not in self.environ:
            raise ConfigError(f"the environment variable {name} is not set")
        return self.environ[name]

    def state(self, url: Any) -> str:
        """The address of a store that there is, without a password."""
        if not isinstance(url, str):
            raise ConfigError("must be an address such as sqlite:///./state.db")
        if url.startswith("redis"):
            if ":" in url.partition("//")[2].rpartition("@")[0]:
                raise ConfigError("a password belongs into state_password, not into the address")
            if redis_client.address(url) is None:
                raise ConfigError(
                    f"{url!r} is not an address such as redis://127.0.0.1:6379/0, rediss://redis.example/0 or "
                    "redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster/0"
                )
        elif not url.startswith("sqlite:///") or not local_path(url).name:
            shown = "***@" + url.rpartition("@")[2] if "@" in url else url
            raise ConfigError(
                f"{shown!r} is not supported; use sqlite:///PATH, such as sqlite:///./state.db, or redis://HOST:PORT/0"
            )
        return url

    def logs(self, url: Any) -> str:
        """The address of a log."""
        if not isinstance(url, str):
            raise ConfigError("must be an address such as file:///./logs")
        if problem := places.problem(url):
            raise ConfigError(problem)
        return url


def _sendable(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ConfigError("holds characters that no HTTP header may carry")
    return value


def _content(file: str) -> str:
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"cannot read {file}: {reason}") from error


def budgets_folder(settings: Settings) -> Path:
    """Where the copies of the day are counted: beside the state, since a restart must not begin a new day; where the
    state is not on this disk, beside the log: each replica counts its own."""
    if settings.state.startswith("sqlite:"):
        return local_path(settings.state).parent / "budgets"
    return places.spool(settings) / "budgets"


def adapters_folder(settings: Settings) -> Path:
    """Where fetched adapters are kept."""
    if settings.artifacts.cache:
        return Path(settings.artifacts.cache).resolve()
    if settings.state.startswith("sqlite:"):
        return (local_path(settings.state).parent / "adapters").resolve()
    return (places.spool(settings) / "adapters").resolve()
