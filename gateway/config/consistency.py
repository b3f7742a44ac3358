"""What is wrong with a configuration whose keys are each right: names that nobody has, keys that need or exclude another."""

import os
import re
import ssl
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from graduand.gateway.errors import AdapterError, ConfigError, GraduandError, did_you_mean
from graduand.gateway.model import outbound
from graduand.gateway.model.recording import RecordPolicy
from graduand.gateway.model.routes import Limits, Route, Settings, Tracing, Upstream
from graduand.monitoring.checks import written as checks
from graduand.monitoring.prices import price_of
from graduand.rollout.answers import tasks
from graduand.rollout.spec.names import check_name

ROUTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


def problems(settings: Settings) -> Iterator[str]:
    """Every problem, one a line, with the key that it is about first."""
    for upstream in settings.upstreams.values():
        yield from _upstream(upstream)
    for route in settings.routes.values():
        yield from _route(route, settings)
    yield from _record(settings.record)
    if settings.state_password is not None and not settings.state.startswith("redis"):
        yield "state_password: only a Redis has a password; set state to redis://…"
    if settings.tracing is not None:
        yield from _tracing(settings.tracing)
    for route in settings.routes.values():
        yield from _priced_twice(route, settings)
    if settings.limits != Limits() and settings.client_keys is None:
        yield "client_limits: there are no client_keys to limit; add client_keys"


def _upstream(upstream: Upstream) -> Iterator[str]:
    at, ca_file = f"upstreams.{upstream.name}", upstream.ca_file
    if ca_file is not None and not os.path.isfile(ca_file):
        yield f"{at}.ca_file: there is no file {ca_file}"
    elif ca_file is not None and not _holds_certificates(ca_file):
        yield f"{at}.ca_file: {ca_file} holds no certificates in PEM form"
    if upstream.slots is not None and upstream.kind != "vllm":
        yield f"{at}.slots: adapters are placed on upstreams of kind vllm only, not {upstream.kind}"
    sent_in = outbound.key_header(upstream)
    if upstream.api_key is not None and any(one.name == sent_in for one in upstream.headers):
        yield f"{at}.headers: {sent_in} is what api_key is sent in; keep one of the two"


def _holds_certificates(file: str) -> bool:
    try:
        ssl.create_default_context(cafile=file)
    except (OSError, ValueError):  # an SSLError is an OSError
        return False
    return True


def _route(route: Route, settings: Settings) -> Iterator[str]:
    at, student = f"routes.{route.name}", route.student
    if not ROUTE_NAME.fullmatch(route.name):
        yield f"{at}: a route's name has letters, digits and . _ : / - only"
    yield from _known(route.teacher.upstream, settings, f"{at}.teacher.upstream")
    if student is not None:
        yield from _known(student.upstream, settings, f"{at}.student.upstream")
        try:
            check_name(student.adapter)
        except AdapterError as error:
            yield f"{at}.student.adapter: {error}"
    elif route.mode != "teacher":
        yield f"{at}.mode: {route.mode} needs a student; add student: or set mode: teacher"
    yield from _answers(route, settings, at)
    if route.monitors.folder is not None:
        from graduand.monitoring.drift import files  # brings numpy and scipy, which workers have no use for

        try:
            files.read(Path(route.monitors.folder))
        except GraduandError as error:
            yield f"{at}.monitors.reference: {error}"


def _known(name: str, settings: Settings, at: str) -> Iterator[str]:
    if name not in settings.upstreams:
        hint = did_you_mean(name, settings.upstreams) or f" There are: {', '.join(settings.upstreams)}."
        yield f"{at}: there is no upstream {name!r}.{hint}"


def _answers(route: Route, settings: Settings, at: str) -> Iterator[str]:
    """The task first: what is wrong with it, is not said of the checks again."""
    try:
        if route.task is not None:
            tasks.check_judge(tasks.read(route.task), {name: one.kind for name, one in settings.upstreams.items()})
        checks.of_route(route.checks, route.task)
    except ConfigError as error:
        yield f"{at}.{error}"


def _record(policy: RecordPolicy) -> Iterator[str]:
    if policy.redacts:
        from graduand.gateway.logs import redaction  # RE2 is loaded only where something is redacted

        try:
            redaction.Redactor(policy)
        except ConfigError as error:
            yield f"record.{error}"


def _tracing(tracing: Tracing) -> Iterator[str]:
    try:
        parts = urlsplit(tracing.endpoint)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = tracing.endpoint.rpartition("@")[2]  # what stands before an @ may be a secret
        yield f"tracing.endpoint: {shown!r} is not a URL such as http://127.0.0.1:4318"
    elif parts.username or parts.password:
        yield "tracing.endpoint: a key belongs into OTEL_EXPORTER_OTLP_HEADERS, not into the URL"
    if not _exporter_installed():
        yield "tracing: needs packages that are not installed; run pip install 'graduand[otel]'"


def _exporter_installed() -> bool:
    try:
        return all(find_spec(name) for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        return False


def _priced_twice(route: Route, settings: Settings) -> Iterator[str]:
    pairs = [(route.teacher.upstream, route.teacher.model)]
    pairs += [(route.student.upstream, route.student.adapter)] if route.student is not None else []
    for name, model in pairs:
        upstream = settings.upstreams.get(name)
        if upstream is not None and upstream.gpu_hour is not None and price_of(settings.prices, model):
            text = f"is priced by tokens (prices), and its upstream {name} by the hour (gpu_hour); keep one"
            yield f"routes.{route.name}: {model} {text}"
