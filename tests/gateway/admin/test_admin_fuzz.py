"""The admin plane against its own OpenAPI description: whatever is sent, it answers as it says it does.

Requests are made from the description (right ones, nearly right ones and nonsense) for every operation below /v1.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graduand.gateway.admin.app import app
from graduand.gateway.admin.calls import Configuration
from graduand.gateway.model.routes import MODES, Replica, Route, Settings, Student, Teacher, Upstream
from graduand.gateway.state.sqlite import SqliteStore
from graduand.monitoring.metrics import Totals
from tests.gateway.upstream import Upstream as Server

Json = dict[str, Any]
PLACED, IN_USE = "placed@3f9c1a0b22de", "old@3f9c1a0b22de"
TASK = {"kind": "label", "labels": ["yes", "no"]}
SPEC = {
    "route": "triage",
    "student": "triage@3f9c1a0b22de",
    "steps": [{"shadow": {"pairs": 5}}, {"canary": {"weight": 10, "requests": 2, "dwell": "1s"}}, "full"],
    "gates": ["agreement 0.8"],
    "task": TASK,
}


class World:
    """The application with something in its store."""

    def __init__(self, folder: Path, port: int) -> None:
        replica = Replica("http", "127.0.0.1", port, "/gpu")
        upstreams = {name: Upstream(name, "vllm", (replica,)) for name in ("openai", "gpu")}
        routes = {
            name: Route(name, Teacher("openai", "gpt-4o"), student)
            for name, student in (("triage", Student("gpu", IN_USE)), ("no/student", None))
        }
        (folder / "logs" / "segments").mkdir(parents=True)
        self.settings = Settings(upstreams, routes, state=f"sqlite:///{folder}/state.db", logs=f"file:///{folder}/logs")
        store = SqliteStore(folder / "state.db")
        store.add_adapter(PLACED, "gpu", "/nowhere", who="test")
        store.add_adapter("lost@3f9c1a0b22de", "forgotten", "/nowhere", who="test")
        store.close()
        self.app = app(Configuration(self.settings, Totals(folder)))
        self.client = TestClient(self.app, raise_server_exceptions=False)
        self.document: Json = self.app.openapi()
        assert self.client.post("/v1/rollouts", json={"spec": SPEC}).status_code == 201


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = Server()
    server.place("gpu", lambda one: one.whole(200, {"data": [{"id": PLACED, "parent": "base"}, {"id": "base"}]}))
    yield World(tmp_path_factory.mktemp("admin"), server.port)
    server.close()


def operations() -> list[tuple[str, str]]:
    nothing = Settings({}, {}, state="sqlite:///x", logs="file:///x")
    paths = app(Configuration(nothing, Totals(Path("x")))).openapi()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods if path.startswith("/v1/")]


# Any text: half a surrogate pair and zero characters, too, which JSON can spell and databases may not take.
texts = st.text(st.characters(exclude_categories=[]), max_size=8)
VERBS = ["pause", "resume", "abort", "retry", "rollback", "approve", "promote", "skip", "supersede", "start"]
NAMES = ["triage", "no/student", "triage-1", "triage-2", PLACED, IN_USE]
KNOWN = [*NAMES, *MODES, *VERBS, "gpu", "/nowhere", "a" * 300, "../../etc", "0", "-1", "\0"]
words = st.sampled_from(KNOWN) | texts
USUAL = {"name": NAMES, "verb": VERBS, "mode": MODES, "adapter": [PLACED, IN_USE], "upstream": ["gpu", "openai"],
         "route": ["triage", "no/student"], "monitor": ["novelty", "mix"]}  # fmt: skip
numbers = (
    st.integers(-2, 12) | st.sampled_from([2**63, -(2**70), 10**400, 1e308, -0.0, 0.5, 0.99, 5e-324]) | st.floats()
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def specs(draw: st.DrawFn) -> Any:
    """A rollout's specification: a good one, one with something changed anywhere in it, or anything at all."""
    spec = json.loads(json.dumps(SPEC))
    for _ in range(draw(st.integers(0, 2))):
        at: Any = spec
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = draw(st.sampled_from(keys)) if keys else None
            if key is None or not isinstance(at[key], dict | list) or draw(st.booleans()):
                break
            at = at[key]
        if key is not None:
            at[key] = draw(anything)
    return spec


def valid(schema: Json, document: Json) -> st.SearchStrategy[Any]:
    """Values that have the form described, as far as it can be described."""
    if "$ref" in schema:
        return valid(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if "anyOf" in schema:
        return st.one_of([valid(one, document) for one in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        required = set(schema.get("required", ()))
        parts = {
            name: st.sampled_from(USUAL[name]) | valid(one, document) if name in USUAL else valid(one, document)
            for name, one in schema["properties"].items()
        }
        return st.fixed_dictionaries(
            {name: part for name, part in parts.items() if name in required},
            optional={name: part for name, part in parts.items() if name not in required},
        )
    if kind == "object":
        return specs()
    if schema.get("title") == "Version":
        return st.none() | st.integers(0, 9)
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
        inside = st.integers(int(low or 0), int(high if high is not None else (low or 0) + 10))
        return inside | numbers if kind == "number" else inside | inside | st.integers()
    simple = {"string": words, "boolean": st.booleans(), "null": st.none(), "array": st.lists(anything, max_size=3)}
    return simple[str(kind)]


@st.composite
def bodies(draw: st.DrawFn, schema: Json, document: Json) -> bytes:
    kind = draw(st.integers(0, 9))
    if kind == 9:
        return draw(st.binary(max_size=20) | st.just(b"[" * 2000))
    data = draw(valid(schema, document)) if kind < 8 else draw(anything)
    if kind == 7 and isinstance(data, dict):
        data[draw(words)] = draw(anything)
    return json.dumps(data, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


def _one_segment(text: str) -> bool:
    return text not in ("", ".", "..")


@st.composite
def requests(draw: st.DrawFn, method: str, path: str, operation: Json, document: Json) -> Json:
    """The keyword arguments of a request."""
    headers, query = {"content-type": "application/json"}, {}
    for one in operation.get("parameters", []):
        if one["in"] == "path":
            usual = draw(st.integers(0, 4))
            value = draw(st.sampled_from(USUAL[one["name"]]) if usual else words.filter(_one_segment))
            path = path.replace("{" + one["name"] + "}", quote(value.encode("utf-8", "surrogatepass"), safe=""))
        elif draw(st.booleans()):
            continue
        elif one["in"] == "query":
            value = draw(valid(one["schema"], document) | words)
            query[one["name"]] = str(value).encode("utf-8", "replace").decode()
        else:
            headers[one["name"]] = draw(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=9))
    body = operation.get("requestBody")
    content = draw(bodies(body["content"]["application/json"]["schema"], document)) if body else None
    if path == "/v1/rollouts/simulate" and content is not None:
        content = content.replace(b'"student"', b'"no student"')  # one that can be played through takes seconds
    return {"method": method, "url": path, "params": query or None, "headers": headers, "content": content}


@pytest.mark.parametrize(("method", "path"), operations())
def test_an_operation_answers_as_described(world: World, method: str, path: str) -> None:
    operation = world.document["paths"][path][method]

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: Any) -> None:
        wanted = data.draw(requests(method, path, operation, world.document))
        answer = world.client.request(**wanted)
        assert answer.status_code < 500, (wanted, answer.text)
        assert str(answer.status_code) in operation["responses"], (wanted, answer.text)
        found = answer.json()
        if answer.status_code >= 400:
            error = found["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["message"]
            assert error["type"] == "invalid_request_error"

    check()


POSTS = [path.replace("{verb}", "rollback") for method, path in operations() if method == "post"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"why": "x"}'])
def test_another_sites_page_can_change_nothing(world: World, path: str, kind: str | None, body: bytes) -> None:
    """What a browser sends to another site without asking it first has one of these types, or none."""
    headers = {} if kind is None else {"content-type": kind}
    answer = world.client.post(path.replace("{name}", "triage-1"), content=body, headers=headers)
    assert answer.status_code == 422
    assert world.client.get("/v1/rollouts/triage-1").json()["phase"] not in ("rolling_back", "rolled_back")


def test_errors_are_described_in_their_own_shape(world: World) -> None:
    assert "HTTPValidationError" not in json.dumps(world.document["paths"])
    assert set(world.document["components"]["schemas"]["Problem"]["properties"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/rollouts/a/b/c/d"])
def test_what_is_not_there_is_an_error_of_the_same_shape(world: World, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "PATCH"):
        answer = world.client.request(method, path)
        assert answer.status_code in (404, 405)
        assert answer.json()["error"]["code"] == "http_error"
