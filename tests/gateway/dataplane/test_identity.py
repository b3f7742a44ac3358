"""Who asked, as the log knows it; whose id a request has on either side; and whom a route's units are."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.units import (
    COUNTED,
    HEAVY_SHARE,
    LEAST_REQUESTS,
    WINDOW_REQUESTS,
    Shares,
    sources_of,
    unit_of,
)
from graduand.gateway.errors import ConfigError
from graduand.gateway.model.clients import ClientKey
from graduand.gateway.model.routes import USER_ORDER, Limits, Route, Teacher, Unit, read_unit
from tests.gateway.dataplane.inprocess import records, serving
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.speaking import Answer, Client, chat
from tests.gateway.upstream import Conversation, Upstream, good_events, message

KEYS = (ClientKey("k0", "triage"), ClientKey("k1"))


def asked(
    folder: Path, upstream: Any, *headers: str, keys: tuple[ClientKey, ...] = (), **more: Any
) -> tuple[Answer, dict[str, Any]]:
    """An answer and its record."""
    route = Route("triage", Teacher("t", "gpt-4o"), retries=0)
    with serving(folder, [upstream], [route], keys) as port, Client(port) as client:
        got = client.ask(chat("triage", **more), headers=headers)
    return got, records(folder)[-1]


@pytest.mark.parametrize(
    ("keys", "key", "status", "client", "name"),
    [
        (KEYS, "k0", 200, 0, "triage"),
        (KEYS[::-1], "k0", 200, 1, "triage"),
        (KEYS, "k1", 200, 1, KEYS[1].name),
        (KEYS, "k2", 401, -1, None),
        ((), "k2", 200, 0, None),
    ],
)
def test_a_client_in_the_log_is_its_key(
    tmp_path: Path,
    upstream: Upstream,
    keys: tuple[ClientKey, ...],
    key: str,
    status: int,
    client: int,
    name: str | None,
) -> None:
    place = upstream.place("who")
    got, record = asked(tmp_path, one_upstream("t", "openai", place.url), f"authorization: Bearer {key}", keys=keys)
    assert got.status == status
    assert (record["client"], record["client_key"]) == (client, name)


def test_a_client_that_used_up_its_limit_is_logged_as_itself(tmp_path: Path, upstream: Upstream) -> None:
    own, route = one_upstream("t", "openai", upstream.place("limit").url), Route("triage", Teacher("t", "gpt-4o"))
    key = "authorization: Bearer k1"
    with serving(tmp_path, [own], [route], KEYS, limits=Limits(requests_per_minute=1)) as port, Client(port) as client:
        found = [client.ask(chat("triage"), headers=(key,)).status for _ in range(2)]
    assert found == [200, 429]
    assert [(one["status"], one["client"], one["client_key"]) for one in records(tmp_path)] == [
        (200, 1, KEYS[1].name),
        (429, 1, KEYS[1].name),
    ]


def vendor(status: int, *headers: str) -> Any:
    def acts(talk: Conversation) -> None:
        if status >= 400:
            talk.whole(status, {"error": {"message": "no"}}, *headers)
        elif talk.streams:
            talk.start_stream(*headers)
            talk.events([*good_events("gpt-4o"), "[DONE]"])
            talk.end_stream()
        else:
            talk.whole(status, message("gpt-4o"), *headers)

    return acts


SAYS = (
    "openai-processing-ms: 412",
    "x-ratelimit-remaining-tokens: 7",
    "X-RateLimit-Limit-Requests: 9",
    "set-cookie: a=b",
)
NAMED = [
    ("x-request-id: req_1", "req_1"), ("request-id: req_2", "req_2"), ("apim-request-id: 3-4", "3-4"),
    ("x-request-id: two words", None), (f"x-request-id: {'a' * 300}", None),
]  # fmt: skip


@pytest.mark.parametrize("limits", [False, True])
@pytest.mark.parametrize(("status", "stream"), [(200, False), (200, True), (400, False), (500, False)])
@pytest.mark.parametrize(("header", "name"), NAMED[:1])
def test_what_the_vendor_says_beside_its_answer(
    tmp_path: Path, upstream: Upstream, header: str, name: str, status: int, stream: bool, limits: bool
) -> None:
    place = upstream.place(f"vendor-{status}-{stream}", vendor(status, header, *SAYS))
    own = dataclasses.replace(one_upstream("t", "openai", place.url), rate_limit_headers=limits)
    got, record = asked(tmp_path, own, stream=stream)
    assert (got.headers["x-upstream-request-id"], got.headers["openai-processing-ms"]) == (name, "412")
    told = {one for one in got.headers if one.startswith("x-ratelimit-")}
    assert told == ({"x-ratelimit-remaining-tokens", "x-ratelimit-limit-requests"} if limits else set())
    assert "set-cookie" not in got.headers
    assert (record["upstream_request_id"], record["upstream_ms"]) == (name, 412)


@pytest.mark.parametrize(("header", "name"), NAMED[1:])
def test_each_vendors_own_name_of_the_id(tmp_path: Path, upstream: Upstream, header: str, name: str | None) -> None:
    place = upstream.place("named", vendor(200, header))
    got, record = asked(tmp_path, one_upstream("t", "openai", place.url))
    assert got.headers.get("x-upstream-request-id") == name
    assert (record["upstream_request_id"], record["upstream_ms"]) == (name, None)


@pytest.mark.parametrize(("sent", "kept"), [("mine-1", True), ("two words", False), ("a" * 300, False)])
def test_the_request_id_is_the_clients_else_ours(tmp_path: Path, upstream: Upstream, sent: str, kept: bool) -> None:
    place = upstream.place("ids")
    got, record = asked(tmp_path, one_upstream("t", "openai", place.url), f"x-request-id: {sent}")
    expected = sent if kept else record["id"]
    assert (got.headers["x-request-id"], got.headers["x-graduand-id"]) == (expected, record["id"])
    assert place.seen[0].header("x-request-id") == record["id"]


ASKED = {"user": "u", "safety_identifier": "s", "metadata": {"user_id": "m"}, "prompt_cache_key": "c"}
ORDERS: list[tuple[Any, dict[str, Any], dict[bytes, bytes], str | None]] = [
    ("user", ASKED, {}, "u"),
    ("user", {**ASKED, "user": ""}, {}, "s"),
    ("user", {**ASKED, "user": 7, "safety_identifier": None}, {}, "m"),
    ("user", {"prompt_cache_key": "c"}, {}, None),
    ("user", {"metadata": "m"}, {}, None),
    (["user"], {"safety_identifier": "s"}, {}, None),
    ("prompt_cache_key", ASKED, {}, "c"),
    ("metadata.user_id", ASKED, {}, "m"),
    ("request", ASKED, {}, None),
    ("header:X-User", ASKED, {b"x-user": b"h"}, "h"),
    (["header:x-user", "safety_identifier"], ASKED, {}, "s"),
    (["safety_identifier", "header:x-user", "user"], {"user": "u"}, {b"x-user": b"h"}, "h"),
]


@pytest.mark.parametrize(("written", "data", "headers", "unit"), ORDERS)
def test_the_unit_is_the_first_that_a_request_names(
    written: Any, data: dict[str, Any], headers: dict[bytes, bytes], unit: str | None
) -> None:
    read = read_unit(written)
    assert unit_of(sources_of(read), data, headers) == unit
    assert read_unit(read.written) == read


@pytest.mark.parametrize(
    "written", ["users", "header:", "header:a b", [], ["user", "request"], ["user", "user"], 7, None, {}]
)
def test_what_is_no_unit_is_refused(written: Any) -> None:
    with pytest.raises(ConfigError):
        read_unit(written)


def test_user_means_more_than_a_list_of_user_alone() -> None:
    assert (read_unit("user"), read_unit(["user"])) == (Unit(USER_ORDER), Unit(("user",)))
    assert (str(read_unit("user")), str(read_unit(["user"])), str(Unit())) == ("user", "user", "request")


@given(st.lists(st.integers(0, 400), max_size=3000), st.integers(0, 4))
def test_a_unit_that_is_called_heavy_is_heavy(units: list[int], often: int) -> None:
    shares, seen = Shares(), Counter[int]()
    for at, one in enumerate(units, 1):
        unit = 1000 if often and at % (often + 1) == 0 else one
        seen[unit] += 1
        called = shares.saw(unit)
        if called:
            assert at >= LEAST_REQUESTS
            assert seen[unit] > HEAVY_SHARE * at
        elif at >= LEAST_REQUESTS:
            assert seen[unit] <= (HEAVY_SHARE + 1 / COUNTED) * at


def test_shares_need_little_memory_and_forget() -> None:
    shares = Shares()
    assert not any(shares.saw(unit) for unit in range(3 * WINDOW_REQUESTS))
    assert len(shares._counts) <= COUNTED
    called = [shares.saw(-1) for _ in range(WINDOW_REQUESTS)]
    assert called[-1]
    for _ in range(8 * WINDOW_REQUESTS):
        shares.saw_nobody()
    assert not shares.saw(-1)
