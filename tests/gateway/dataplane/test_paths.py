"""What is served besides answers: models, pages of browsers, and what is said of paths that are not served."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from graduand.gateway.dataplane.cors import Cors
from graduand.gateway.dataplane.dialects import registry
from graduand.gateway.model.routes import Route, Teacher
from tests.gateway.dataplane.inprocess import Running
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.speaking import Answer, Client, chat, request
from tests.gateway.upstream import Upstream, answer, text_of

KEY = "authorization: Bearer k1"
PAGE = "https://app.example"


@pytest.fixture
def running(tmp_path: Path, upstream: Upstream) -> Iterator[Running]:
    place = upstream.place(tmp_path.name, answer)
    routes = [Route(name, Teacher("t", "gpt-5")) for name in ("r", "team/summaries")]
    running = Running(tmp_path, [one_upstream("t", "openai", place.url)], routes, ("k1",))
    yield running
    running.close()


def asks(running: Running, method: str, path: str, *headers: str) -> Answer:
    with Client(running.port) as client:
        client.send("\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *headers, "", ""]).encode())
        return client.read()


def test_one_model(running: Running) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{running.port}/v1", api_key="k1", max_retries=0) as client:
        assert (client.models.retrieve("r").id, client.models.retrieve("team/summaries").id) == ("r", "team/summaries")
        assert [one.id for one in client.models.list()] == ["r", "team/summaries"]
        with pytest.raises(openai.NotFoundError) as missing:
            client.models.retrieve("gpt-5")
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert asks(running, "GET", "/v1/models/r").status == 401
    assert asks(running, "GET", "/v1/models/r", "x-api-key: k1").data["object"] == "model"
    gone = asks(running, "DELETE", "/v1/models/r", KEY)
    assert (gone.status, gone.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/v1/audio/speech", "/v1/chat/completion", "/v2/chat/completions", "/v1", "/v1/chat/completions/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_path_that_is_not_served(running: Running, method: str, path: str) -> None:
    """It names itself and what is served, and guesses at no spelling."""
    got = asks(running, method, path, KEY)
    assert (got.status, got.error["code"]) == (404, "not_found")
    assert repr(path) in got.error["message"]
    assert "mean" not in got.error["message"]
    served = [one.decode() for one in registry.DIALECTS if one.startswith(b"/v1/")]
    assert all(one in got.error["message"] for one in (*served, "/v1/models", "/v1/models/{id}"))


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "resp_1"), ("DELETE", "resp_1"), ("POST", "resp_1/cancel"), ("GET", "resp_1/input_items?limit=3"),
    ("POST", "input_tokens"), ("POST", "compact"),
])  # fmt: skip
def test_responses_are_not_kept(running: Running, method: str, path: str) -> None:
    got = asks(running, method, f"/v1/responses/{path}", KEY)
    assert (got.status, got.error["code"]) == (404, "not_found")
    assert "responses are not kept" in got.error["message"]


def test_azures_clients(running: Running) -> None:
    """The old paths and the new: the deployment is the route, the key stands where Azure's clients put it."""
    root = f"http://127.0.0.1:{running.port}"
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
    with openai.AzureOpenAI(azure_endpoint=root, api_key="k1", api_version="2024-10-21", max_retries=0) as client:
        assert client.chat.completions.create(model="r", **asked).choices[0].message.content == text_of("gpt-5")
        pieces = list(client.chat.completions.create(model="team/summaries", stream=True, **asked))
        assert "".join(one.choices[0].delta.content or "" for one in pieces if one.choices) == text_of("gpt-5")
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="unknown", **asked)
    at_once = openai.AzureOpenAI(
        azure_endpoint=root, azure_deployment="r", api_key="k1", api_version="2024-10-21", max_retries=0
    )
    with at_once as client:
        assert client.chat.completions.create(model="whatever", **asked).choices[0].message.content == text_of("gpt-5")
    with openai.OpenAI(base_url=f"{root}/openai/v1", api_key="k1", max_retries=0) as client:
        assert client.chat.completions.create(model="r", **asked).choices[0].message.content == text_of("gpt-5")
    for path, body, status in (
        ("/openai/deployments/r/chat/completions", asked, 200), ("/openai/deployments/r/chat/completions", b"[]", 400),
        ("/openai/deployments/r/chat/completions", b"{", 400), ("/openai/deployments/r/images/generations", asked, 404),
        ("/openai/deployments//chat/completions", asked, 404), ("/openai/deployments/r", asked, 404),
    ):  # fmt: skip
        with Client(running.port) as plain:
            assert plain.ask(body, path, ("api-key: k1",)).status == status
            assert plain.ask(body, path, ("api-key: k2",)).status == (404 if status == 404 else 401)
    assert asks(running, "GET", "/openai/deployments/r/chat/completions", KEY).headers["allow"] == "POST"


def test_pages(running: Running) -> None:
    """Whole answers, streams, refusals and lists say whose page may read them; a page of others is told nothing."""
    running.do(_allow(running, (PAGE, "http://localhost:5173")))
    for body in (chat("r"), chat("r", stream=True), chat("unknown"), b"{"):
        for origin, allowed in (
            (PAGE, PAGE),
            ("http://localhost:5173", "http://localhost:5173"),
            ("https://evil.example", None),
        ):
            with Client(running.port) as client:
                client.send(request(body, headers=(KEY, f"origin: {origin}")))
                got = client.read()
            assert got.headers.get("access-control-allow-origin") == allowed
            assert got.headers.get("vary") == (None if allowed is None else "origin")
    asked = (
        "origin: " + PAGE,
        "access-control-request-method: POST",
        "access-control-request-headers: authorization, content-type",
    )
    before = asks(running, "OPTIONS", "/v1/chat/completions", *asked)
    assert (before.status, before.body) == (200, b"")
    assert before.headers["access-control-allow-methods"] == "GET, POST"
    assert before.headers["access-control-allow-headers"] == "authorization, content-type"
    assert asks(running, "GET", "/v1/models", KEY, f"origin: {PAGE}").headers["access-control-allow-origin"] == PAGE
    assert asks(running, "GET", "/v1/models", KEY).headers.get("access-control-allow-origin") is None
    assert asks(running, "OPTIONS", "/v1/chat/completions", "origin: https://evil.example", *asked[1:]).status == 405


def test_no_pages(running: Running) -> None:
    """Without a word in the configuration, and once it is taken away, no page may call; on a kept connection, too."""
    with Client(running.port) as client:
        for origins, allowed in (((), None), (("*",), "*"), ((), None)):
            running.do(_allow(running, origins))
            client.send(request(chat("r"), headers=(KEY, f"origin: {PAGE}")))
            assert client.read().headers.get("access-control-allow-origin") == allowed


def test_headers_of_a_preflight_are_no_way_in() -> None:
    """What a page asks for comes back in a header: only names of headers do."""
    asked = {b"origin": b"a://b", b"access-control-request-method": b"POST"}
    cors = Cors(("*",))
    assert b"x-a, y" in cors.preflight({**asked, b"access-control-request-headers": b"x-a, y"})
    for names in (b"a\r\nset-cookie: x", b"", b"a: b", b"x" * 3000):
        assert b"allow-headers" not in cors.preflight({**asked, b"access-control-request-headers": names})


async def _allow(running: Running, origins: tuple[str, ...]) -> None:
    running.plane.allow(origins)
