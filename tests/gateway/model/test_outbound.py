"""The way to an upstream: what goes with each request, and when a proxy stands in between."""

import dataclasses

import pytest

from graduand.gateway.errors import ConfigError
from graduand.gateway.model.keys import Extra
from graduand.gateway.model.outbound import (
    Proxy,
    authority,
    headers_of,
    proxy_of,
    query_of,
    read_proxy,
    secrets_of,
    spared,
)
from graduand.gateway.model.routes import Replica, Upstream

REPLICA = Replica("https", "api.openai.com", 443, "/v1")
PLAIN = Replica("http", "10.1.2.3", 8000, "/v1")
UPSTREAM = Upstream("azure", "openai", (REPLICA,), api_key="sk-1")


def test_headers_and_query_go_with_the_key() -> None:
    more = dataclasses.replace(
        UPSTREAM,
        headers=(Extra("x-team", "triage"), Extra("api-key", "sk-2", secret=True)),
        query=(Extra("api-version", "2024-06-01"), Extra("a b", "c&d/é")),
    )
    assert headers_of(UPSTREAM) == {"authorization": "Bearer sk-1"}
    assert headers_of(more) == {"authorization": "Bearer sk-1", "x-team": "triage", "api-key": "sk-2"}
    assert (query_of(UPSTREAM), query_of(more)) == ("", "?api-version=2024-06-01&a%20b=c%26d%2F%C3%A9")
    assert secrets_of(more) == ("sk-1", "sk-2")
    assert "sk-" not in repr(more)


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, Proxy("p", 3128)),
        ({"https_proxy": "http://p:3128/"}, Proxy("p", 3128)),
        ({"HTTPS_PROXY": "p:3128"}, Proxy("p", 3128)),
        ({"HTTPS_PROXY": "http://ann:s%40c@[::1]:3128"}, Proxy("::1", 3128, "Basic YW5uOnNAYw==")),
        ({"HTTP_PROXY": "http://p:3128"}, None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "openai.com"}, None),
        ({"HTTPS_PROXY": "http://p:3128", "no_proxy": "localhost, .openai.com"}, None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "ai.com"}, Proxy("p", 3128)),
    ],
)
def test_the_proxy_of_the_environment(environ: dict[str, str], proxy: Proxy | None) -> None:
    assert proxy_of(UPSTREAM, REPLICA, environ) == proxy
    assert proxy_of(UPSTREAM, PLAIN, environ) is None  # engines are asked as they always were


def test_an_upstreams_own_proxy_wins() -> None:
    environ = {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*"}
    own = dataclasses.replace(UPSTREAM, proxy="http://mine:1")
    assert proxy_of(own, REPLICA, environ) == proxy_of(own, PLAIN, environ) == Proxy("mine", 1)
    assert proxy_of(dataclasses.replace(UPSTREAM, proxy="direct"), REPLICA, {"HTTPS_PROXY": "http://p:1"}) is None


SPARED = [
    ("api.example.com", "example.com", True),
    ("api.example.com", "EXAMPLE.com.", True),
    ("api.example.com", "*.example.com", True),
    ("api.example.com", "api.example.com:443", True),
    ("api.example.com", "api.example.com:8443", False),
    ("badexample.com", "example.com", False),
    ("example.com", "api.example.com", False),
    ("10.1.2.3", "10.0.0.0/8", True),
    ("10.1.2.3", "10.1.2.3", True),
    ("11.1.2.3", "10.0.0.0/8", False),
    ("::1", "::1", True),
    ("::1", "[::1]:443", True),
    ("fd00::7", "fd00::/8", True),
    ("api.example.com", "", False),
    ("api.example.com", ",, .", False),
    ("api.example.com", "other.com api.example.com", True),
]


@pytest.mark.parametrize(("host", "no_proxy", "expected"), SPARED)
def test_hosts_that_no_proxy_names(host: str, no_proxy: str, expected: bool) -> None:
    assert spared(host, 443, no_proxy) is expected


@pytest.mark.parametrize("text", ["ftp://p:1", "http://", "http://p:x", "http://u:secret@p/path", ""])
def test_what_is_no_proxy_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(ConfigError, match="is not the address of an HTTP proxy") as caught:
        read_proxy(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("way", ["proxy", "HTTPS_PROXY", "https_proxy"])
@pytest.mark.parametrize(
    ("scheme", "named"),
    [
        *((scheme, "a SOCKS proxy") for scheme in ("socks", "socks4", "socks4a", "socks5", "socks5h", "SOCKS5")),
        ("https", "a proxy that is spoken to in TLS"),
    ],
)
def test_other_proxies_are_refused_by_name(way: str, scheme: str, named: str) -> None:
    address = f"{scheme}://ann:secret@p:1080"
    upstream = dataclasses.replace(UPSTREAM, proxy=address if way == "proxy" else None)
    with pytest.raises(ConfigError, match="is not the address of an HTTP proxy") as caught:
        proxy_of(upstream, REPLICA, {} if way == "proxy" else {way: address})
    assert f"'p:1080' is not the address of an HTTP proxy, such as http://proxy.example:3128: it is {named}" in str(
        caught.value
    )
    assert f"({scheme.lower()}://), which is not supported" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_port_is_left_out_where_it_is_the_schemes_own() -> None:
    assert [authority("h", 443, "https"), authority("h", 80, "https"), authority("::1", 80)] == [
        "h",
        "h:80",
        "[::1]:80",
    ]
