"""Faults that need more than one request: flapping, breakers, budgets, kept connections, slow readers, several replicas."""

import json
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from graduand.gateway.dataplane.health import (
    BUDGET_PER_S,
    BUDGET_SHARE,
    BUDGET_START,
    FIRST_REST_S,
    LONGEST_REST_S,
    TRIP_AFTER,
)
from tests.gateway.conftest import Start
from tests.gateway.faults import PATIENT_S, TIMEOUTS, overloaded, refuses, reset, says, silent
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import Answer, chat
from tests.gateway.upstream import (
    Conversation,
    Place,
    Upstream,
    answer,
    chunk,
    good_events,
    message,
    text_of,
    tokens,
    usage_chunk,
)  # fmt: skip

TEACHER, STUDENT = "gpt-4o", "small@3f9c1a0b22de"
UNAVAILABLE = refuses(503, "down")
PAIRS = [
    "prefill", "flaps", "outage", "rested", "dead", "budget", "stale", "restarted", "slow", "deep", "choices", "twice", "cached",
    "filtered", "window", "total", "client-error", "only-student", "unsolicited", "interim",
]  # fmt: skip
IDLE_S = TOTAL_S = 2.5
Pair = Callable[[str], tuple[Place, Place]]


@pytest.fixture(scope="module")
def pairs(upstream: Upstream) -> dict[str, tuple[Place, Place]]:
    return {name: (upstream.place(f"{name}-teacher"), upstream.place(f"{name}-student")) for name in PAIRS}


@pytest.fixture(scope="module")
def replicas(upstream: Upstream) -> list[Place]:
    return [upstream.place(f"replica{number}") for number in range(3)]


@pytest.fixture(scope="module")
def gateway(start: Start, pairs: dict[str, tuple[Place, Place]], replicas: list[Place]) -> Gateway:
    upstreams: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    for name, (teacher, student) in pairs.items():
        upstreams[f"{name}-t"] = configured(teacher.url)
        upstreams[f"{name}-s"] = configured(student.url)
        routes[name] = route(f"{name}-t", f"{name}-s", mode="student", timeouts=TIMEOUTS)
    routes["window"]["release"] = "window"
    routes["slow"]["timeouts"] = {**TIMEOUTS, "idle_s": IDLE_S}
    routes["total"]["timeouts"] = {**TIMEOUTS, "total_s": TOTAL_S}
    routes["only-student"]["on_student_failure"] = "error"
    upstreams["many"] = configured(*(one.url for one in replicas))
    routes["many"] = route("many", "many", mode="student", timeouts=TIMEOUTS)
    return start(upstreams, routes)


def ask(gateway: Gateway, name: str, **more: Any) -> Answer:
    with gateway.client() as client:
        return client.ask(chat(name, **more))


def reason(answer: Answer) -> str:
    return answer.headers["x-graduand-reason"]


def most_asked(within_s: float) -> float:
    """How often a dead replica may be asked: until its breaker opens, and then after each rest, which doubles."""
    return TRIP_AFTER + 2 + math.log2(within_s / FIRST_REST_S + 1) + within_s / LONGEST_REST_S


def test_a_fallback_that_rejects_a_prefill(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    """The request was right for the student: to pass the teacher's 400 on would tell the client that it was wrong."""
    teacher, student = pairs["prefill"]
    student.then = UNAVAILABLE
    teacher.then = refuses(400, "prefill is not supported: the last message must be the user's")
    got = ask(gateway, "prefill")
    assert (got.status, got.error["code"]) == (502, "fallback_refused")
    assert "prefill is not supported" in got.error["message"]
    assert reason(got) == "fallback:http_503"
    assert (student.asked, teacher.asked) == (3, 1)
    record = gateway.record(got.headers["x-graduand-id"])
    assert [one["outcome"] for one in record["attempts"]] == ["http_503"] * 3 + ["bad_request"]


def test_both_arms_find_the_context_too_long(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    for place in pairs["client-error"]:
        place.then = refuses(400, "maximum context length is 10", code="context_length_exceeded")
    got = ask(gateway, "client-error")
    assert (got.status, got.error["code"]) == (400, "context_length_exceeded")


def test_a_route_without_fallback(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    teacher, student = pairs["only-student"]
    student.then = UNAVAILABLE
    got = ask(gateway, "only-student")
    assert (got.status, got.headers["x-graduand-arm"], teacher.asked) == (503, "student", 0)


def test_a_primary_that_flaps(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    """Up and down request by request: no client sees an error, and the student is used whenever it can be."""
    _, student = pairs["flaps"]
    student.script = [one for _ in range(20) for one in (UNAVAILABLE, reset, answer)]
    got = [ask(gateway, "flaps", stream=number % 2 == 0) for number in range(20)]
    assert {(one.status, one.text) for one in got} <= {(200, text_of(STUDENT)), (200, text_of(TEACHER))}
    assert sum(reason(one) == "student" for one in got) >= 10


def test_an_outage_is_not_hammered_and_its_end_is_used(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    """Asked a few times until its breaker opens, and then once a rest, whose length doubles."""
    _, student = pairs["outage"]
    student.then = UNAVAILABLE
    reasons: Counter[str] = Counter()
    began = time.monotonic()
    while sum(reasons.values()) < 200 or student.asked < TRIP_AFTER + 2:
        got = ask(gateway, "outage")
        assert got.text == text_of(TEACHER)
        reasons[reason(got)] += 1
    assert student.asked <= most_asked(time.monotonic() - began)
    assert set(reasons) == {"fallback:http_503", "fallback:unavailable"}
    until(lambda: gateway.total("graduand_breaker_open", "outage-s") == 1, "the open breaker is shown")
    student.then = answer
    until(lambda: reason(ask(gateway, "outage")) == "student", "the recovered student is used")
    assert {reason(ask(gateway, "outage")) for _ in range(20)} == {"student"}
    until(lambda: gateway.total("graduand_breaker_open", "outage-s") == 0, "the breaker is closed")


def test_a_replica_whose_rest_is_over_is_not_said_to_rest(
    gateway: Gateway, pairs: dict[str, tuple[Place, Place]]
) -> None:
    """Without traffic nobody finds out whether it is well again, but nothing is kept from it any more."""
    _, student = pairs["rested"]
    student.then = UNAVAILABLE
    while reason(ask(gateway, "rested")) != "fallback:unavailable":
        pass
    until(lambda: gateway.total("graduand_breaker_open", "rested-s") == 0, "the rest is over")


def test_one_probe_at_a_time(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    """While a probe hangs, nobody else waits for the sick student."""
    _, student = pairs["dead"]
    student.then = UNAVAILABLE
    while reason(ask(gateway, "dead")) != "fallback:unavailable":
        pass
    goes_on = threading.Event()

    def hangs(one: Conversation) -> None:
        goes_on.wait(PATIENT_S)
        answer(one)

    student.forget()
    student.then = hangs
    probing: list[Answer] = []

    def probe() -> None:
        while not student.asked:
            probing.append(ask(gateway, "dead"))

    thread = threading.Thread(target=probe)
    thread.start()
    until(lambda: student.asked, "a probe is made")
    assert {reason(ask(gateway, "dead")) for _ in range(10)} == {"fallback:unavailable"}
    assert student.asked == 1
    goes_on.set()
    thread.join()
    assert reason(probing[-1]) == "student"


def test_retries_are_bounded_by_a_budget(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    """429s do not open the breaker, so only the budget keeps retries from multiplying an overload."""
    teacher, _ = pairs["budget"]
    gateway.change("budget", mode="teacher")
    until(lambda: reason(ask(gateway, "budget")) == "teacher", "the change is served")
    teacher.then = overloaded("retry-after: 0")
    teacher.forget()
    began = time.monotonic()
    for _ in range(60):
        assert ask(gateway, "budget").status == 429
    by_time = (time.monotonic() - began) * BUDGET_PER_S
    assert 60 <= teacher.asked <= 60 + BUDGET_START + BUDGET_SHARE * 62 + by_time + 1


def test_a_stale_kept_connection(gateway: Gateway, upstream: Upstream, pairs: dict[str, tuple[Place, Place]]) -> None:
    """The upstream closes a kept connection just as it is used again: asked anew on another, charged to nobody."""
    _, student = pairs["stale"]
    assert reason(ask(gateway, "stale")) == "student"

    def close_when_asked(one: Conversation) -> None:
        one.cut()

    student.script = [close_when_asked]
    got = ask(gateway, "stale")
    assert (got.status, reason(got)) == (200, "student")
    first, stale, fresh = student.seen
    assert first.connection == stale.connection != fresh.connection
    assert [one["outcome"] for one in gateway.record(got.headers["x-graduand-id"])["attempts"]] == ["ok"]


def test_an_upstream_that_restarts_between_requests(
    gateway: Gateway, upstream: Upstream, pairs: dict[str, tuple[Place, Place]]
) -> None:
    assert reason(ask(gateway, "restarted")) == "student"
    upstream.cut_connections()
    for _ in range(3):
        got = ask(gateway, "restarted")
        assert (got.status, reason(got)) == (200, "student")


def test_a_client_that_reads_slowly(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    """It gets everything, the gateway's memory is not its buffer, and the upstream is not blamed for its own patience."""
    _, student = pairs["slow"]
    piece, count = "x" * 50_000, 300  # 15 MB
    sent: list[float] = []

    def pour(one: Conversation) -> None:
        one.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        one.start_stream()
        for _ in range(count):
            one.events([chunk(STUDENT, content=piece)])
            sent.append(time.monotonic())
        one.events([chunk(STUDENT, finish="stop"), usage_chunk(STUDENT), "[DONE]"])
        one.end_stream()

    student.then = pour
    with gateway.client(receive_bytes=1 << 14) as client:
        client.post(chat("slow", stream=True))
        until(lambda: sent, "it begins to flow")
        time.sleep(0.5)
        stopped_at = -1
        while len(sent) != stopped_at:  # until it has stood still for longer than an upstream may be silent
            stopped_at = len(sent)
            time.sleep(IDLE_S * 1.2)
        assert stopped_at < count  # it was slowed down by the client, through the gateway
        got = client.read()
    assert got.whole
    assert len(got.text) == len(piece) * count
    record = gateway.record(got.headers["x-graduand-id"])
    assert (record["completed"], record["error"]) == (True, None)


DEEP: Any = "x"
for _ in range(260):
    DEEP = [DEEP]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_nested_without_end(gateway: Gateway, pairs: dict[str, tuple[Place, Place]], stream: bool) -> None:
    _, student = pairs["deep"]

    def deep(one: Conversation) -> None:
        if not stream:
            one.whole(200, {**message(STUDENT), "model": None, "deep": DEEP})
            return
        one.start_stream()
        one.events(tokens(STUDENT))
        one.taken()
        one.events([{**chunk(STUDENT), "choices": [{"index": 0, "delta": {}, "logprobs": {"content": [DEEP]}}]}])
        one.events([chunk(STUDENT, finish="stop"), "[DONE]"])
        one.end_stream()

    student.then = deep
    got = ask(gateway, "deep", stream=stream)
    assert got.status == 200
    assert got.whole
    assert got.text == text_of(STUDENT if stream else TEACHER)  # whole: malformed, so the teacher answers
    assert gateway.record(got.headers["x-graduand-id"])["completed"]


def test_two_choices_were_asked_for_and_one_came(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    """Without [DONE] and with the second choice missing, the stream broke off, though the first choice has its end."""
    _, student = pairs["choices"]

    def one_of_two(one: Conversation) -> None:
        one.start_stream()
        one.events(good_events(STUDENT)[:-1])
        one.end_stream()

    student.then = one_of_two
    assert ask(gateway, "choices", stream=True).whole
    got = ask(gateway, "choices", stream=True, n=2)
    assert not got.whole
    assert got.events[-1]["error"]["code"] == "truncated"


def test_an_answer_that_nobody_asked_for_is_given_to_nobody(
    gateway: Gateway, pairs: dict[str, tuple[Place, Place]]
) -> None:
    """An upstream that sends a second answer, or half of one, must not answer the next client with it."""
    _, student = pairs["unsolicited"]
    bad = json.dumps({**message(STUDENT), "choices": [{"message": {"content": "not yours"}}]}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(bad)

    def twice(size: int) -> Callable[[Conversation], None]:
        def act(one: Conversation) -> None:
            good = json.dumps(message(STUDENT)).encode()
            first = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(good)
            one.send(first + good + (head + bad)[:size])

        return act

    for size in (1, 20, len(head), len(head) + 10, len(head + bad)):
        student.script = [twice(size)]
        for _ in range(3):
            assert ask(gateway, "unsolicited").text == text_of(STUDENT)


def test_interim_answers_are_passed_over(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    _, student = pairs["interim"]

    def interim(one: Conversation) -> None:
        one.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        answer(one)

    student.then = interim
    for stream in (False, True):
        assert ask(gateway, "interim", stream=stream).text == text_of(STUDENT)


def test_the_window_holds_the_beginning_back(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    """A failure within the window is invisible; one after it breaks the stream."""
    _, student = pairs["window"]

    def cut_after(count: int) -> Callable[[Conversation], None]:
        def act(one: Conversation) -> None:
            one.start_stream()
            one.events([chunk(STUDENT, content="word ")] * count)
            one.taken()
            one.cut()

        return act

    student.then = cut_after(3)
    got = ask(gateway, "window", stream=True)
    assert (got.text, reason(got)) == (text_of(TEACHER), "fallback:truncated")
    student.then = cut_after(100)
    got = ask(gateway, "window", stream=True)
    assert not got.whole
    assert got.events[-1]["error"]["code"] == "truncated"


def test_the_total_time_is_kept(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    """A stream that goes on and on, token by token, ends at total_s; nobody is asked after the time is up."""
    teacher, student = pairs["total"]

    def endless(one: Conversation) -> None:
        one.start_stream()
        while not one.place.ended.is_set():
            one.events([chunk(STUDENT, content="x")], pause_s=0.02)

    student.then = lambda one: (endless if b"on and on" in one.seen.body else silent)(one)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool, gateway.client() as client:
        nothing = pool.submit(ask, gateway, "total", stream=True)
        got = client.ask(chat("total", "on and on", stream=True))
        assert TOTAL_S <= time.monotonic() - began < PATIENT_S
        assert got.events[-1]["error"]["code"] == "total_timeout"
        assert nothing.result().status == 504
    assert teacher.asked == 0


def test_content_filter_of_a_stream_is_told(gateway: Gateway, pairs: dict[str, tuple[Place, Place]]) -> None:
    teacher, student = pairs["filtered"]

    def filtered(one: Conversation) -> None:
        one.start_stream()
        one.events([{"error": {"message": "filtered", "code": "content_filter"}}, "[DONE]"])
        one.end_stream()

    student.then = filtered
    got = ask(gateway, "filtered", stream=True)
    assert (got.status, got.error["code"], teacher.asked) == (400, "content_filter", 0)


# Several replicas.


def test_load_goes_where_there_is_least(gateway: Gateway, replicas: list[Place]) -> None:
    all_there = threading.Event()

    def waits(one: Conversation) -> None:
        all_there.wait(PATIENT_S)
        answer(one)

    for one in replicas:
        one.forget()
        one.then = waits
    with_clients = [threading.Thread(target=ask, args=(gateway, "many")) for _ in range(9)]
    for thread in with_clients:
        thread.start()
    until(lambda: sum(one.asked for one in replicas) == 9, "all are asked")
    all_there.set()
    for thread in with_clients:
        thread.join()
    for one in replicas:
        one.then = answer
    assert [one.asked for one in replicas] == [3, 3, 3]


def test_one_adapter_stays_where_it_is_warm(gateway: Gateway, replicas: list[Place]) -> None:
    for one in replicas:
        one.forget()
    for _ in range(10):
        ask(gateway, "many")
    assert sorted(one.asked for one in replicas) == [0, 0, 10]


def test_a_replica_that_lacks_the_adapter_is_passed_over(gateway: Gateway, replicas: list[Place]) -> None:
    [home] = [one for one in replicas if one.asked]
    home.then = refuses(404, "The model `small` does not exist.", code="model_not_found")
    got = ask(gateway, "many")
    for _ in range(5):
        got = ask(gateway, "many")
        assert (got.status, reason(got)) == (200, "student")
    home.then = answer


def test_a_dead_replica_is_passed_over(gateway: Gateway, replicas: list[Place]) -> None:
    for one in replicas:
        one.forget()
    replicas[0].then = says(500, b"")
    replicas[1].then = says(500, b"")
    began = time.monotonic()
    got = [ask(gateway, "many") for _ in range(30)]
    assert {(one.status, reason(one)) for one in got} == {(200, "student")}
    assert replicas[2].asked == 30
    assert max(one.asked for one in replicas[:2]) <= most_asked(time.monotonic() - began)
