"""The configuration file: what is refused and in which words, and where secrets come from."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.address import local_path
from graduand.gateway.config import read as config
from graduand.gateway.config.explain import explain_checks
from graduand.gateway.config.read import load, parse
from graduand.gateway.errors import ConfigError
from graduand.gateway.model.clients import ClientKey
from graduand.gateway.model.keys import basis_points
from graduand.gateway.model.routes import Budget, Limits, Replica, read_unit, settings_from_json, settings_to_json

ROUTE: dict[str, Any] = {
    "teacher": {"upstream": "openai", "model": "gpt-4o"},
    "student": {"upstream": "gpu", "adapter": "triage@3f9c1a"},
    "mode": "canary",
    "weight": 10,
    "unit": "user",
}
FILE: dict[str, Any] = {
    "upstreams": {
        "openai": {"kind": "openai", "base_urls": ["https://api.openai.com/v1/"], "api_key": {"env": "OPENAI_API_KEY"}},
        "gpu": {"kind": "vllm", "base_urls": ["http://127.0.0.1:8000/v1", "http://[::1]:8000"]},
    },
    "routes": {"triage": ROUTE},
}
ENVIRON = {
    "OPENAI_API_KEY": "sk-1",
    "KEYS": " a , b,,",
    "EMPTY": " , ",
    "BAD": "a\nb",
    "CONTROL": "a\x01b",
    "PROXY": "http://ann:hunter2@p:3128",
}
REMOVED = object()


def changed(**changes: Any) -> dict[str, Any]:
    """FILE with values at dotted paths (dots written as __) set or removed."""
    data = copy.deepcopy(FILE)
    for path, value in changes.items():
        *folders, last = path.split("__")
        section = data
        for one in folders:
            section = section[one]
        if value is REMOVED:
            del section[last]
        else:
            section[last] = value
    return data


def settings(data: Any) -> Any:
    return parse(data, where="test.yaml", environ=ENVIRON)


def test_defaults_are_those_of_the_design() -> None:
    read = settings(FILE)
    assert (read.listen, read.admin, read.workers) == (("127.0.0.1", 8080), ("127.0.0.1", 8081), 1)
    assert (read.state, read.logs) == ("sqlite:///./graduand-data/state.db", "file:///./graduand-data/logs")
    assert read.client_keys is None
    route = read.routes["triage"]
    assert (route.weight_bp, route.shadow_bp, route.retries) == (1000, 10_000, 2)
    assert (route.on_student_failure, route.release, route.unit) == ("teacher", "observe", read_unit("user"))
    times = route.timeouts
    assert (times.connect_s, times.first_token_s, times.idle_s, times.total_s) == (2, 10, 10, 120)
    assert read.upstreams["openai"].replicas == (Replica("https", "api.openai.com", 443, "/v1"),)
    assert [one.url for one in read.upstreams["gpu"].replicas] == ["http://127.0.0.1:8000/v1", "http://[::1]:8000"]


def test_patience_and_usage_are_the_models_own() -> None:
    teacher = {**FILE["routes"]["triage"]["teacher"], "first_token_s": 90}
    read = settings(changed(routes__triage__teacher=teacher, upstreams__gpu__stream_usage="never"))
    route = settings_from_json(settings_to_json(read)).routes["triage"]
    assert (route.teacher.first_token_s, route.timeouts.first_token_s) == (90, 10)
    assert route.student is not None
    assert route.student.first_token_s is None
    assert [read.upstreams[name].stream_usage for name in ("openai", "gpu")] == ["ask", "never"]


def test_settings_survive_the_way_to_the_workers() -> None:
    limits, budget = {"requests_per_minute": 3}, {"tokens_per_day": 4}
    read = settings(changed(client_keys={"env": "KEYS"}, client_limits=limits, routes__triage__audit_budget=budget))
    assert read.routes["triage"].audit_budget == Budget(tokens_per_day=4)
    assert read.client_keys == (ClientKey("a"), ClientKey("b"))
    assert read.limits == Limits(3, 0)
    assert settings_from_json(settings_to_json(read)) == read


def test_checks_survive_the_way_to_the_workers_and_are_explained() -> None:
    written = ["not_empty", {"json": {"schema": {"type": "object"}, "action": "block"}}, {"secret": "flag"}]
    read = settings(changed(routes__triage__checks=written, routes__triage__release_window=7))
    route = settings_from_json(json.loads(json.dumps(settings_to_json(read)))).routes["triage"]
    assert (list(route.checks or ()), route.release_window) == (written, 7)
    words = explain_checks(route)
    assert "not_empty (the teacher answers instead); secret (only logged and counted); json (the client gets" in words
    assert "streams are released unchecked" in words
    task = {"kind": "label", "labels": ["a", "b"]}
    assert "not_empty, label" in explain_checks(settings(changed(routes__triage__task=task)).routes["triage"])
    assert "no checks" in explain_checks(settings(FILE).routes["triage"])


def test_secrets_show_up_in_no_representation() -> None:
    read = settings(changed(client_keys={"env": "KEYS"}))
    assert "sk-1" not in repr(read)
    assert "'a'" not in repr(read)


def test_a_password_of_the_state_is_read_and_never_shown() -> None:
    read = settings(changed(state="redis://h:6380/2", state_password={"env": "OPENAI_API_KEY"}))
    assert (read.state, read.state_password) == ("redis://h:6380/2", "sk-1")
    assert "sk-1" not in repr(read)
    assert settings_from_json(settings_to_json(read)) == read


@pytest.mark.parametrize(
    "state",
    [
        "redis://u:sk-2@h/0",
        "redis://:sk-2@h",
        "rediss://:sk-2/x@h/0",
        "redis://:sk-2@1@h",
        "rediz://u:sk-2@h",
        "x://sk-2@h",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_repeated(state: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(changed(state=state))
    assert "sk-2" not in str(caught.value)


UNKNOWN = [
    (changed(listn="x"), "unknown key 'listn'. Did you mean 'listen'?"),
    (changed(zzz=1), "unknown key 'zzz'. Known keys: upstreams, routes, listen,"),
    (changed(routes__triage__wieght=1), "unknown key 'routes.triage.wieght'. Did you mean 'weight'"),
    (changed(routes__triage__teacher__modle="x"), "unknown key 'routes.triage.teacher.modle'. Did you mean 'model'"),
    (changed(routes__triage__timeouts={"idle": 1}), "unknown key 'routes.triage.timeouts.idle'. Did you mean 'idle_s'"),
    (changed(routes__triage__shadow_budget={"request_per_day": 1}), "Did you mean 'requests_per_day'"),
    (changed(upstreams__gpu__base_url="x"), "unknown key 'upstreams.gpu.base_url'. Did you mean 'base_urls'"),
    (changed(upstreams__openai__api_key={"value": "sk-2"}), "unknown key 'upstreams.openai.api_key.value'"),
    (changed(client_keys={"keys": "a"}), "unknown key 'client_keys.keys'"),
    (changed(prices={"gpt-4o": {"inputs": 1}}), "unknown key 'prices.gpt-4o.inputs'. Did you mean 'input'"),
    (changed(tracing={"endpoint": "http://x", "share": 1}), "unknown key 'tracing.share'"),
    (changed(upstreams__gpu__gpu_hours=1), "unknown key 'upstreams.gpu.gpu_hours'. Did you mean 'gpu_hour'"),
]
WRONG = [
    ([], "must hold a mapping with 'upstreams' and 'routes'"),
    (None, "must hold a mapping"),
    (changed(upstreams=REMOVED), "upstreams: Field required"),
    (changed(routes={}), "routes: Value should have at least 1 item"),
    (changed(workers=0), "workers: Input should be greater than or equal to 1 (it is 0)"),
    (changed(routes__triage__audit_budget={"tokens_per_day": -1}), "audit_budget.tokens_per_day: Input should be greater"),
    (changed(routes__triage__task={"kind": "json", "schema": {"type": "objekt"}}), "routes.triage.task: schema: "),
    (changed(routes__triage__weight=101), "routes.triage.weight: 101 is not between 0 and 100 percent"),
    (changed(routes__triage__weight="10"), "routes.triage.weight: must be a number of percent, 0 to 100 (it is '10')"),
    (changed(routes__triage__weight=True), "routes.triage.weight: must be a number of percent"),
    (changed(routes__triage__weight=float("nan")), "routes.triage.weight"),
    (changed(routes__triage__weight=0.005), "routes.triage.weight: 0.005 is finer than the steps of 0.01 percent"),
    (changed(routes__triage__mode="canari"), "routes.triage.mode: Input should be 'teacher', 'shadow', 'canary'"),
    (changed(routes__triage__mode=False), "routes.triage.mode"),
    (changed(routes__triage__teacher__upstream="opnai"), "there is no upstream 'opnai'. Did you mean 'openai'?"),
    (changed(routes__triage__student__upstream="zz"), "there is no upstream 'zz'. There are: openai, gpu."),
    (changed(routes__triage__student__adapter="../x"), "adapter name '../x' is not allowed"),
    (changed(routes__triage__student=REMOVED), "mode: canary needs a student; add student: or set mode: teacher"),
    (changed(routes__triage__unit="header:"), "'header:' is not one of request (alone), user, safety_identifier"),
    (changed(routes__triage__unit="header:a b"), "prompt_cache_key and header:NAME"),
    (changed(routes={"a b": ROUTE}), "routes.a b: a route's name has letters, digits and . _ : / - only"),
    (changed(routes={"a\r\nx: y": ROUTE}), "a route's name has letters, digits"),
    (changed(routes__triage__teacher__first_token_s=0), "routes.triage.teacher.first_token_s: Input should be greater than 0"),
    (changed(upstreams__gpu__stream_usage="always"), "upstreams.gpu.stream_usage: Input should be 'ask' or 'never'"),
    (changed(routes__triage__timeouts={"total_s": 0}), "routes.triage.timeouts.total_s: Input should be greater than 0"),
    (changed(listen="8080"), "listen: '8080' is not HOST:PORT, such as 127.0.0.1"),
    (changed(admin="127.0.0.1:99999"), "admin: '127.0.0.1:99999' is not HOST:PORT"),
    (changed(state="postgres://x"), "state: 'postgres://x' is not supported; use sqlite:///PATH"),
    (changed(state="redis://"), "state: 'redis://' is not an address such as redis://127.0.0.1:6379/0"),
    (changed(state="redis://h:99999"), "is not an address such as redis://127.0.0.1:6379/0"),
    (changed(state="redis://h/0?ssl=no"), "is not an address such as"),
    (changed(state="redis://h,i/0"), "is not an address such as"),
    (changed(state="redis+sentinel://h,i/0"), "is not an address such as"),
    (changed(state="rediss://h/x"), "is not an address such as"),
    (changed(state_password={"env": "OPENAI_API_KEY"}), "state_password: only a Redis has a password"),
    (changed(state="redis://h", state_password={"env": "NOT_THERE"}), "the environment variable NOT_THERE is not set"),
    (changed(logs="gopher://x"), "logs: 'gopher://x' is not supported; use file:///PATH"),
    (changed(upstreams__gpu__kind="tgi"), "upstreams.gpu.kind: Input should be 'openai', 'vllm', 'lorax' or 'anthropic'"),
    (changed(upstreams__gpu__base_urls=[]), "upstreams.gpu.base_urls: List should have at least 1 item"),
    (changed(upstreams__gpu__base_urls=["127.0.0.1:8000"]), "is not a base URL such as http://127.0.0.1:8000/v1"),
    (changed(upstreams__gpu__base_urls=["http://h:99999/"]), "is not a base URL"),
    (changed(upstreams__gpu__base_urls=["http://h:0/"]), "is not a base URL"),
    (changed(upstreams__gpu__base_urls=["http://h/v1 x"]), "is not a base URL"),
    (changed(upstreams__gpu__base_urls=["http://h/v1?x=1"]), "is not a base URL"),
    (changed(upstreams__gpu__base_urls=["http://[::1/v1"]), "is not a base URL"),
    (changed(upstreams__gpu__ca_file="/nowhere"), "upstreams.gpu.ca_file: there is no file /nowhere"),
    (changed(client_keys={}), "client_keys: give exactly one of env and file"),
    (changed(client_keys={"env": "KEYS", "file": "x"}), "client_keys: give exactly one of env and file"),
    (changed(client_keys={"env": "NOT_SET"}), "client_keys: the environment variable NOT_SET is not set"),
    (changed(client_keys={"file": "/nowhere"}), "client_keys: cannot read /nowhere: No such file or directory"),
    (changed(client_keys={"env": "EMPTY"}), "client_keys: the list is empty"),
    (changed(client_keys={"env": "CONTROL"}), "client_keys: a key holds characters that no HTTP header may carry"),
    (changed(upstreams__openai__api_key={"env": "BAD"}), "api_key: holds characters that no HTTP header may carry"),
    (changed(upstreams__gpu__headers=["x"]), "upstreams.gpu.headers: must be a mapping of names"),
    (changed(upstreams__gpu__headers={"x-a": 1}), "upstreams.gpu.headers: x-a: must be a text"),
    (changed(upstreams__gpu__headers={"a b": "x"}), "upstreams.gpu.headers: 'a b' is not the name of a header"),
    (changed(upstreams__gpu__headers={"x-a": "é"}), "x-a: holds characters that no HTTP header may carry"),
    (changed(upstreams__gpu__headers={"x-a": "b\r\nc: d"}), "x-a: holds characters that no HTTP header may carry"),
    (changed(upstreams__gpu__headers={"X-A": "b", "x-a": "c"}), "the same header is given twice"),
    (changed(upstreams__gpu__headers={"Content-Length": "1"}), "Content-Length is set by the gateway itself"),
    (changed(upstreams__gpu__headers={"x-a": {"env": "NOT_SET"}}), "x-a: the environment variable NOT_SET is not set"),
    (changed(upstreams__gpu__headers={"x-a": {"envv": "X"}}), "unknown key 'upstreams.gpu.headers.x-a.envv'. Did you mean"),
    (changed(upstreams__openai__headers={"Authorization": {"env": "KEYS"}}), "authorization is what api_key is sent in"),
    (changed(upstreams__gpu__query={"api-version": 1}), "upstreams.gpu.query: api-version: must be a text; put it in quotes"),
    (changed(upstreams__gpu__proxy="https://p:1"), "upstreams.gpu.proxy: 'https://p:1' is not the address of an HTTP proxy"),
    (changed(upstreams__gpu__proxy=7), "upstreams.gpu.proxy: must be {env: NAME} or {file: PATH}"),
    (changed(client_keys="sk-2"), "client_keys: must be {env: NAME} or {file: PATH}"),
    (changed(upstreams__openai__api_key="sk-2"), "upstreams.openai.api_key"),
    (changed(routes__triage__checks=["refusals"]), "routes.triage.checks: 'refusals' is not known. Did you mean 'refusal'"),
    (changed(routes__triage__checks=["label"]), "routes.triage.checks (label): needs the route's task"),
    (changed(routes__triage__checks="refusal"), "routes.triage.checks: Input should be a valid list"),
    (changed(routes__triage__release_window=0), "routes.triage.release_window: Input should be greater than or equal to 1"),
    (changed(client_limits={"requests_per_minute": 1}), "there are no client_keys to limit"),
    (changed(prices={"gpt-4o": {"input": 1}}), "prices.gpt-4o.output: Field required"),
    (changed(prices={"gpt-4o": {"input": -1, "output": 1}}), "prices.gpt-4o.input: Input should be greater"),
    (changed(prices={"gpt-4o": {"input": float("nan"), "output": 1}}), "prices.gpt-4o.input"),
    (changed(prices={"gpt-4o": {"input": 1, "output": 1}}, upstreams__openai__gpu_hour=1), "keep one"),
    (changed(upstreams__gpu__gpu_hour=float("inf")), "upstreams.gpu.gpu_hour: Input should be a finite number"),
    (changed(tracing={"endpoint": "localhost:4318"}), "'localhost:4318' is not a URL such as http://127.0.0.1:4318"),
    (changed(tracing={"endpoint": "http://["}), "'http://[' is not a URL"),
    (changed(tracing={"endpoint": "http://a:b@x"}), "a key belongs into OTEL_EXPORTER_OTLP_HEADERS"),
    (changed(tracing={"endpoint": "http://x", "sample": 0}), "tracing.sample: Input should be greater than 0"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "sentence"), UNKNOWN + WRONG, ids=[line for _, line in UNKNOWN + WRONG])
def test_refused_with_a_sentence(data: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(data)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("test.yaml ")


@pytest.mark.parametrize(
    "data",
    [
        changed(upstreams__gpu__base_urls=["http://user:hunter2@h/v1"]),
        changed(upstreams__gpu__base_urls=["ftp://user:hunter2@h/v1"]),
        changed(upstreams__gpu__base_urls=["http://h/v1?api_key=hunter2"]),
        changed(upstreams__openai__api_key="hunter2"),
        changed(upstreams__openai__api_key={"env": "OPENAI_API_KEY", "value": "hunter2"}),
        changed(client_keys="hunter2"),
        changed(upstreams__gpu__headers={"api-key": "hunter2"}),
        changed(upstreams__gpu__headers={"X-Auth": "hunter2"}),
        changed(upstreams__gpu__headers="hunter2"),
        changed(upstreams__gpu__query={"access_token": "hunter2"}),
        changed(upstreams__gpu__query={"key": ["hunter2"]}),
        changed(upstreams__gpu__proxy="http://ann:hunter2@p:3128"),
        changed(upstreams__gpu__proxy="ann:hunter2@p:x"),
    ],
)
def test_a_key_in_the_file_is_refused_and_not_repeated(data: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(data)
    assert "hunter2" not in str(caught.value)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        settings(changed(listen="x", state="y", routes__triage__unit="z"))
    assert [line.split(":")[0].strip(" -") for line in str(caught.value).splitlines()[1:]] == [
        "routes.triage.unit", "listen", "state",
    ]  # fmt: skip


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-file\n")
    read = settings(changed(upstreams__openai__api_key={"file": str(tmp_path / "key")}))
    assert read.upstreams["openai"].api_key == "sk-file"
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read"):
        settings(changed(upstreams__openai__api_key={"file": str(tmp_path / "key")}))


def test_load(tmp_path: Path) -> None:
    path = tmp_path / "graduand.yaml"
    with pytest.raises(ConfigError, match="cannot read the configuration file"):
        load(path)
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot read the configuration file"):
        load(path)
    path.write_text("routes: {}\nroutes: {}\n")
    with pytest.raises(ConfigError, match="routes.*twice"):
        load(path)


@given(st.integers(0, 10_000))
def test_basis_points_are_exact(points: int) -> None:
    assert basis_points(points / 100) == points


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_basis_points_refuse_everything_else_by_name(percent: float) -> None:
    try:
        points = basis_points(percent)
    except ConfigError:
        return
    assert 0 <= points <= 10_000
    assert abs(points / 100 - percent) < 1e-6


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PATHS = [
    "listen", "workers", "state", "logs", "client_keys", "client_limits", "upstreams", "upstreams__gpu", "routes",
    "upstreams__gpu__kind", "upstreams__gpu__base_urls", "upstreams__openai__api_key", "routes__triage",
    "routes__triage__teacher", "routes__triage__student", "routes__triage__mode", "routes__triage__weight",
    "routes__triage__unit", "routes__triage__timeouts", "routes__triage__retries", "routes__triage__release",
    "prices", "tracing", "upstreams__gpu__gpu_hour",
]  # fmt: skip


@given(st.sampled_from(PATHS), json_values)
def test_any_value_anywhere_is_read_or_refused(path: str, value: Any) -> None:
    try:
        read = settings(changed(**{path: value}))
    except ConfigError as error:
        assert str(error).count("\n") >= 1 or "mapping" in str(error)
        return
    assert settings_from_json(settings_to_json(read)) == read


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:////var/x.db", "/var/x.db"), ("file:///./logs", "./logs"), ("file:///var/logs", "/var/logs")],
)
def test_local_path(url: str, path: str) -> None:
    assert local_path(url) == Path(path)


@pytest.mark.parametrize(
    ("state", "folder"),
    [("sqlite:////var/x/state.db", "/var/x/budgets"), ("redis://h:6379/0", "/var/logs/budgets")],
)
def test_budgets_are_on_this_disk(state: str, folder: str) -> None:
    read = settings(changed(state=state, logs="file:///var/logs"))
    assert config.budgets_folder(read) == Path(folder)


def test_headers_query_and_proxy_survive_the_way_to_the_workers() -> None:
    read = settings(
        changed(
            upstreams__gpu__headers={"API-Key": {"env": "OPENAI_API_KEY"}, "x-team": "triage"},
            upstreams__gpu__query={"api-version": "2024-06-01"}, upstreams__gpu__proxy={"env": "PROXY"},
            upstreams__gpu__rate_limit_headers=True, routes__triage__unit=["header:X-User", "user"],
        )
    )  # fmt: skip
    gpu = read.upstreams["gpu"]
    assert [(one.name, one.value, one.secret) for one in gpu.headers] == [
        ("api-key", "sk-1", True),
        ("x-team", "triage", False),
    ]
    assert (gpu.query[0].value, gpu.proxy, gpu.rate_limit_headers) == ("2024-06-01", "http://ann:hunter2@p:3128", True)
    assert read.routes["triage"].unit.order == ("header:x-user", "user")
    assert "sk-1" not in repr(read)
    assert "hunter2" not in repr(read)
    assert settings_from_json(json.loads(json.dumps(settings_to_json(read)))) == read


def test_a_wrong_proxy_of_the_environment_is_found_before_it_is_used() -> None:
    environ = {**ENVIRON, "HTTPS_PROXY": "socks5://ann:hunter2@p:1"}
    with pytest.raises(ConfigError, match="upstreams.openai: the environment's HTTPS_PROXY 'p:1' is not") as caught:
        parse(FILE, where="test.yaml", environ=environ)
    assert "hunter2" not in str(caught.value)
    assert parse(FILE, where="test.yaml", environ={**environ, "NO_PROXY": "openai.com"})
