"""Upstreams behind a proxy, with headers and a query of their own: requests and the gateway's own calls go one way."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graduand.gateway.adapters.reachability import find_out
from graduand.gateway.model.keys import Extra
from graduand.gateway.model.routes import Route, Teacher
from graduand.gateway.model.routes import Upstream as Configured
from tests.gateway.authority import Authority
from tests.gateway.dataplane.inprocess import records, serving
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.proxies import ProxyServer
from tests.gateway.speaking import Answer, Client, chat
from tests.gateway.upstream import Conversation, Upstream

PASSWORD = "Basic YW5uOnNlY3JldA=="  # ann:secret


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, Path]]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    server = Upstream(authority.server("localhost", "127.0.0.1"))
    yield server, authority.file
    server.close()


Make = Callable[..., ProxyServer]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[ProxyServer] = []

    def one(*answer: bytes) -> ProxyServer:
        made.append(ProxyServer(*answer))
        return made[-1]

    yield one
    for proxy in made:
        proxy.close()


def asked(folder: Path, upstream: Configured) -> Answer:
    route = Route("triage", Teacher(upstream.name, "gpt-4o"), retries=0)
    with serving(folder, [upstream], [route]) as port, Client(port) as client:
        return client.ask(chat("triage"))


def behind(secure: tuple[Upstream, Path], place: str, **more: object) -> Configured:
    server, authority = secure
    url = server.place(place).url.replace("http://", "https://")
    return dataclasses.replace(one_upstream("t", "openai", url), ca_file=str(authority), **more)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_the_environments_proxy_is_asked_to_connect(
    secure: tuple[Upstream, Path], make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    proxy = make()
    monkeypatch.setenv(name, proxy.url.replace("//", "//ann:secret@"))
    upstream = behind(secure, f"environment-{name}")
    assert asked(tmp_path, upstream).status == 200
    assert proxy.asked[0].splitlines()[0] == f"CONNECT 127.0.0.1:{secure[0].port} HTTP/1.1"
    assert f"proxy-authorization: {PASSWORD}" in proxy.asked[0]
    find_out(upstream, upstream.replicas[0], ())
    assert len(proxy.asked) == 2  # the gateway's own calls go the same way
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    assert asked(tmp_path / "direct", upstream).status == 200
    assert len(proxy.asked) == 2


def test_an_upstreams_own_proxy_also_leads_to_plain_http(upstream: Upstream, make: Make, tmp_path: Path) -> None:
    proxy, place = make(), upstream.place("plain-proxy")
    own = dataclasses.replace(one_upstream("t", "openai", place.url), proxy=proxy.url)
    assert asked(tmp_path, own).status == 200
    assert (len(proxy.asked), len(place.seen)) == (1, 1)


REFUSALS = [
    (b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n", "answered 407, it wants a user and a password"),
    (b"HTTP/1.0 503 Busy\r\n\r\n", "answered 503"),
    (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
    (b"HTTP/1.1 403", "closed the connection"),
    (b"HTTP/1.1 299 x\r\n" + b"a: b\r\n" * 3000, "answers without an end"),
]


@pytest.mark.parametrize(("answer", "words"), REFUSALS)
def test_a_proxy_that_refuses_is_named(
    upstream: Upstream, make: Make, tmp_path: Path, answer: bytes, words: str
) -> None:
    proxy = make(answer)
    own = dataclasses.replace(one_upstream("t", "openai", upstream.place("refused").url), proxy=proxy.url)
    found = asked(tmp_path, own)
    assert (found.status, found.error["code"]) == (502, "connect")
    assert f"the proxy {proxy.url} in front of the upstream {words}" in found.error["message"]


def test_a_proxy_that_is_not_there(tmp_path: Path) -> None:
    own = dataclasses.replace(one_upstream("t", "openai", "http://127.0.0.1:9/v1"), proxy="http://127.0.0.1:9")
    assert "cannot be reached" in asked(tmp_path, own).error["message"]
    said = find_out(own, own.replicas[0], ()).said
    assert said.startswith("cannot be reached through the proxy http://127.0.0.1:9: ")


def test_headers_and_query_go_with_every_request_and_secrets_come_back_to_nobody(
    upstream: Upstream, tmp_path: Path
) -> None:
    def repeats(talk: Conversation) -> None:
        talk.whole(400, {"error": {"message": "wrong key sk-azure for 2024-06-01"}})

    repeats.answers_gets = True  # type: ignore[attr-defined]
    place = upstream.place("azure", then=repeats)
    more = {"headers": (Extra("api-key", "sk-azure", secret=True),), "query": (Extra("api-version", "2024-06-01"),)}
    own = dataclasses.replace(one_upstream("t", "openai", place.url), **more)
    found = asked(tmp_path, own)
    assert "wrong key [key] for 2024-06-01" in found.error["message"]
    seen = place.seen[0]
    assert seen.line.split()[1].endswith("/chat/completions?api-version=2024-06-01")
    assert (seen.header("api-key"), seen.header("authorization")) == ("sk-azure", None)
    finding = find_out(own, own.replicas[0], ())
    assert (finding.usable, finding.said) == (False, "answers 400: wrong key [key] for 2024-06-01")
    listing = place.seen[-1]
    assert (listing.line.split()[1].partition("?")[2], listing.header("api-key")) == (
        "api-version=2024-06-01",
        "sk-azure",
    )
    assert "sk-azure" not in json.dumps(records(tmp_path))
