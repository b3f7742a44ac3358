"""The configuration file: pydantic at the edge (gateway.config.sections), frozen dataclasses inside.

`load(path)` reads YAML, refuses unknown keys with the nearest known one, reads secrets from the environment or from
files, and returns `Settings`. It changes nothing and starts nothing. The keys are those of design.md.
"""

import math
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ValidationError

from graduand.gateway.config.monitors import MonitorsSection
from graduand.gateway.config.record import RecordSection, policy_of
from graduand.gateway.config.sections import AdaptersSection, ConfigFile, RouteSection, Secret, UpstreamSection
from graduand.gateway.config.telemetry import TracingSection
from graduand.gateway.errors import AdapterError, ConfigError, GraduandError, did_you_mean
from graduand.gateway.logs import places
from graduand.gateway.model.recording import DEFAULT, RecordPolicy
from graduand.gateway.model.routes import (
    Artifacts,
    Budget,
    Limits,
    Replica,
    Route,
    Settings,
    Student,
    Teacher,
    Timeouts,
    Tracing,
    Unit,
    Upstream,
)
from graduand.gateway.state import redis_client
from graduand.gateway.state.open import local_path
from graduand.monitoring.checks import written as gates
from graduand.monitoring.prices import price_of
from graduand.rollout.answers import tasks
from graduand.rollout.spec.names import check_name

UPSTREAM_KINDS = ("openai", "vllm", "lorax")
ROUTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
BASE_URL = re.compile(r"[!\"$->A-~]+")  # no blanks, query or fragment: it becomes part of a request line
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class _KeysOnce(yaml.SafeLoader):
    """YAML itself forbids a key given twice; PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the configuration file; raise ConfigError with every problem found, one a line."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from error
    try:
        data = yaml.load(text, _KeysOnce)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return parse(data, where=str(path), environ=os.environ if environ is None else environ)


def parse(data: Any, *, where: str, environ: Mapping[str, str]) -> Settings:
    """Check configuration data that was already read; `where` names its source in error messages."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where} must hold a mapping with 'upstreams' and 'routes'; see the README for an example")
    problems = list(_unknown_keys(ConfigFile, data, ""))
    if not problems:
        try:
            file = ConfigFile.model_validate(data)
        except ValidationError as error:
            problems = [_sentence(one) for one in error.errors()]
        else:
            return _Builder(where, environ).settings(file)
    raise ConfigError(f"{where} is not a valid configuration:\n" + "\n".join(f"  - {line}" for line in problems))


def _unknown_keys(model: type[BaseModel], data: Mapping[Any, Any], at: str) -> list[str]:
    problems = []
    for key, value in data.items():
        field = model.model_fields.get(str(key))
        if field is None:
            hint = did_you_mean(str(key), model.model_fields)
            known = "" if hint else f" Known keys: {', '.join(model.model_fields)}."
            problems.append(f"unknown key '{at}{key}'.{hint}{known}")
            continue
        problems += _unknown_in_value(field.annotation, value, f"{at}{key}.")
    return problems


def _unknown_in_value(annotation: Any, value: Any, at: str) -> list[str]:
    sections = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    models = [kind for kind in sections if issubclass(kind, BaseModel)]
    if not models or not isinstance(value, dict):
        return []
    if getattr(annotation, "__origin__", None) is dict:
        entries = ((name, entry) for name, entry in value.items() if isinstance(entry, dict))
        return [line for name, entry in entries for line in _unknown_keys(models[0], entry, f"{at}{name}.")]
    return _unknown_keys(models[0], value, at)


def _sentence(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    given = error.get("input")
    # What stands where a secret should be named may be the secret itself.
    secret = not {"api_key", "client_keys", "state_password", "hub_token"}.isdisjoint(error["loc"])
    shown = "" if secret or isinstance(given, dict | list) or error["type"] == "missing" else f" (it is {given!r})"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}{shown}"


class _Builder:
    """Turns the checked file into Settings; collects problems that span several keys."""

    def __init__(self, where: str, environ: Mapping[str, str]) -> None:
        self.where = where
        self.environ = environ
        self.problems: list[str] = []

    def settings(self, file: ConfigFile) -> Settings:
        upstreams = {name: self._upstream(name, section) for name, section in file.upstreams.items()}
        routes = {name: self._route(name, section, upstreams) for name, section in file.routes.items()}
        keys = self._secret(file.client_keys, "client_keys")
        client_keys = tuple(key.strip() for key in keys.split(",") if key.strip()) if keys is not None else None
        if client_keys == ():
            self.problems.append("client_keys: the list is empty; give at least one key or leave client_keys out")
        settings = Settings(
            listen=self._address(file.listen, "listen"),
            admin=self._address(file.admin, "admin"),
            workers=file.workers,
            state=self._state(file.state),
            state_password=self._state_password(file),
            logs=self._logs(file.logs),
            record=self._record(file.record),
            client_keys=client_keys,
            limits=Limits(file.client_limits.requests_per_minute, file.client_limits.tokens_per_minute),
            upstreams=upstreams,
            routes=routes,
            prices={model: section.price() for model, section in file.prices.items()},
            tracing=self._tracing(file.tracing),
            artifacts=self._artifacts(file.adapters),
        )
        self._priced_twice(settings)
        if settings.limits != Limits() and client_keys is None:
            self.problems.append("client_limits: there are no client_keys to limit; add client_keys")
        if self.problems:
            lines = "\n".join(f"  - {line}" for line in self.problems)
            raise ConfigError(f"{self.where} is not a valid configuration:\n{lines}")
        return settings

    def _tracing(self, section: TracingSection | None) -> Tracing | None:
        if section is None:
            return None
        self.problems += section.problems()
        return section.tracing()

    def _artifacts(self, section: AdaptersSection) -> Artifacts:
        cache = "" if section.cache is None else str(section.cache)
        return Artifacts(cache, tuple(section.hub_allow), self._secret(section.hub_token, "adapters.hub_token"))

    def _priced_twice(self, settings: Settings) -> None:
        for route in settings.routes.values():
            pairs = [(route.teacher.upstream, route.teacher.model)]
            pairs += [(route.student.upstream, route.student.adapter)] if route.student is not None else []
            for name, model in pairs:
                upstream = settings.upstreams.get(name)
                if upstream is not None and upstream.gpu_hour is not None and price_of(settings.prices, model):
                    text = f"is priced by tokens (prices), and its upstream {name} by the hour (gpu_hour); keep one"
                    self.problems.append(f"routes.{route.name}: {model} {text}")

    def _address(self, text: str, at: str) -> tuple[str, int]:
        host, _, port = text.rpartition(":")
        if not host or not port.isdigit() or not 0 <= int(port) < 65536:
            self.problems.append(f"{at}: {text!r} is not HOST:PORT, such as 127.0.0.1:8080")
            return "127.0.0.1", 0
        return host.strip("[]"), int(port)

    def _state(self, text: str) -> str:
        if text.startswith("redis"):
            if ":" in text.partition("//")[2].rpartition("@")[0]:
                self.problems.append("state: a password belongs into state_password, not into the address")
            elif redis_client.address(text) is None:
                self.problems.append(
                    f"state: {text!r} is not an address such as redis://127.0.0.1:6379/0, rediss://redis.example/0 or "
                    "redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster/0"
                )
        elif not text.startswith("sqlite:///"):
            shown = "***@" + text.rpartition("@")[2] if "@" in text else text
            self.problems.append(
                f"state: {shown!r} is not supported; use sqlite:///PATH, such as sqlite:///./state.db, or "
                "redis://HOST:PORT/0"
            )
        return text

    def _state_password(self, file: ConfigFile) -> str | None:
        if file.state_password is not None and not file.state.startswith("redis"):
            self.problems.append("state_password: only a Redis has a password; set state to redis://…")
        return self._secret(file.state_password, "state_password")

    def _logs(self, text: str) -> str:
        if problem := places.problem(text):
            self.problems.append(f"logs: {problem}")
        return text

    def _record(self, section: RecordSection) -> RecordPolicy:
        try:
            return policy_of(section)
        except ConfigError as error:
            self.problems.append(str(error))
            return DEFAULT

    def _secret(self, secret: Secret | None, at: str) -> str | None:
        if secret is None:
            return None
        if (secret.env is None) == (secret.file is None):
            self.problems.append(f"{at}: give exactly one of env and file, such as {{env: OPENAI_API_KEY}}")
            return None
        try:
            if secret.env is not None:
                value = self.environ[secret.env]
            else:
                assert secret.file is not None
                value = secret.file.read_text("utf-8").strip()
        except KeyError:
            self.problems.append(f"{at}: the environment variable {secret.env} is not set")
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            self.problems.append(f"{at}: cannot read {secret.file}: {reason}")
            return None
        if not value.isascii() or not value.isprintable():
            self.problems.append(f"{at}: holds characters that no HTTP header may carry")
        return value

    def _upstream(self, name: str, section: UpstreamSection) -> Upstream:
        at = f"upstreams.{name}"
        if section.ca_file is not None and not section.ca_file.is_file():
            self.problems.append(f"{at}.ca_file: there is no file {section.ca_file}")
        elif section.ca_file is not None and not _holds_certificates(section.ca_file):
            self.problems.append(f"{at}.ca_file: {section.ca_file} holds no certificates in PEM form")
        if section.slots is not None and section.kind != "vllm":
            self.problems.append(f"{at}.slots: adapters are placed on upstreams of kind vllm only, not {section.kind}")
        return Upstream(
            name=name,
            kind=section.kind,
            replicas=tuple(self._replica(url, f"{at}.base_urls") for url in section.base_urls),
            api_key=self._secret(section.api_key, f"{at}.api_key"),
            ca_file=None if section.ca_file is None else str(section.ca_file),
            gpu_hour=section.gpu_hour,
            slots=section.slots,
        )

    def _replica(self, url: str, at: str) -> Replica:
        try:
            parts = urlsplit(url)
            port = parts.port if parts.port is not None else 443 if parts.scheme == "https" else 80
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.username or parts.password:
            self.problems.append(f"{at}: {parts.hostname}: a key belongs into api_key, not into the URL")
        elif parts.scheme not in ("http", "https") or not parts.hostname or not port or not BASE_URL.fullmatch(url):
            # What stands after these characters may be a secret.
            shown = re.split("[@?#]", url)[-1 if "@" in url else 0]
            self.problems.append(f"{at}: {shown!r} is not a base URL such as http://127.0.0.1:8000/v1")
        return Replica(parts.scheme, parts.hostname or "", port, parts.path.rstrip("/"))

    def _route(self, name: str, section: RouteSection, upstreams: Mapping[str, Upstream]) -> Route:
        at = f"routes.{name}"
        if not ROUTE_NAME.fullmatch(name):
            self.problems.append(f"{at}: a route's name has letters, digits and . _ : / - only")
        self._known(section.teacher.upstream, upstreams, f"{at}.teacher.upstream")
        if section.student is not None:
            self._known(section.student.upstream, upstreams, f"{at}.student.upstream")
            try:
                check_name(section.student.adapter)
            except AdapterError as error:
                self.problems.append(f"{at}.student.adapter: {error}")
        elif section.mode != "teacher":
            self.problems.append(f"{at}.mode: {section.mode} needs a student; add student: or set mode: teacher")
        weight = self._basis_points(section.weight, f"{at}.weight")
        student = section.student
        return Route(
            name=name,
            teacher=Teacher(section.teacher.upstream, section.teacher.model),
            student=None if student is None else Student(student.upstream, student.adapter),
            mode=section.mode,
            weight_bp=weight,
            unit=self._unit(section.unit, f"{at}.unit"),
            shadow_bp=self._basis_points(section.shadow_sample, f"{at}.shadow_sample"),
            on_student_failure=section.on_student_failure,
            release=section.release,
            release_window=section.release_window,
            gates=self._gates(section, at),
            timeouts=Timeouts(**section.timeouts.model_dump()),
            retries=section.retries,
            task=self._task(section.task, upstreams, at),
            audit_bp=self._basis_points(section.audit_sample, f"{at}.audit_sample"),
            record_bp=self._basis_points(section.record_sample, f"{at}.record_sample"),
            shadow_budget=Budget(**section.shadow_budget.model_dump()),
            audit_budget=Budget(**section.audit_budget.model_dump()),
            monitors=None if section.monitors is None else self._monitors(section.monitors, f"{at}.monitors"),
        )

    def _monitors(self, section: MonitorsSection, at: str) -> dict[str, Any]:
        if isinstance(section.reference, str):
            from graduand.monitoring.drift import files  # brings numpy and scipy, which workers have no use for

            try:
                files.read(Path(section.reference))
            except GraduandError as error:
                self.problems.append(f"{at}.reference: {error}")
        # What was turned off must stay off, so a monitor that is None is written as it was: false.
        data = section.model_dump(mode="json", exclude_unset=True)
        return {key: False if value is None and key != "reference" else value for key, value in data.items()}

    def _known(self, name: str, upstreams: Mapping[str, Upstream], at: str) -> None:
        if name not in upstreams:
            hint = did_you_mean(name, upstreams) or f" There are: {', '.join(upstreams)}."
            self.problems.append(f"{at}: there is no upstream {name!r}.{hint}")

    def _basis_points(self, percent: float, at: str) -> int:
        try:
            return basis_points(percent)
        except ConfigError as error:
            self.problems.append(f"{at}: {error}")
            return 0

    def _task(self, data: dict[str, Any] | None, upstreams: Mapping[str, Upstream], at: str) -> dict[str, Any] | None:
        if data is not None:
            try:
                tasks.check_judge(tasks.read(data), {name: one.kind for name, one in upstreams.items()})
            except ConfigError as error:
                self.problems.append(f"{at}.{error}")
        return data

    def _gates(self, section: RouteSection, at: str) -> tuple[Any, ...] | None:
        try:
            gates.of_route(section.gates, section.task)
        except ConfigError as error:
            if f"{at}.{error}" not in self.problems:  # that the task is wrong was said already
                self.problems.append(f"{at}.{error}")
        return None if section.gates is None else tuple(section.gates)

    def _unit(self, text: str, at: str) -> Unit:
        if text in ("user", "request"):
            return Unit(text)
        kind, _, header = text.partition(":")
        if kind == "header" and HEADER_NAME.fullmatch(header):
            return Unit("header", header.lower())
        self.problems.append(f"{at}: {text!r} is not one of user, request and header:NAME")
        return Unit("request")


def basis_points(percent: float) -> int:
    """Percent to hundredths of a percent, exactly; raise ConfigError outside 0..100 or between two steps of 0.01."""
    points = round(percent * 100) if math.isfinite(percent * 100) else -1
    if not 0 <= points <= 10_000:
        raise ConfigError(f"{percent} is not between 0 and 100 percent")
    if abs(points - percent * 100) > 1e-6:
        raise ConfigError(f"{percent} is finer than the steps of 0.01 percent")
    return points


def _holds_certificates(file: Path) -> bool:
    try:
        ssl.create_default_context(cafile=file)
    except (OSError, ValueError):  # an SSLError is an OSError
        return False
    return True


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
