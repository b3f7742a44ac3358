"""The client goes away: the upstream sees its connection close within 100 ms, and exactly one record tells."""

import os
import socket
import struct
import time

import pytest

from tests.gateway.conftest import Start
from tests.gateway.faults import overloaded
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import chat
from tests.gateway.upstream import Conversation, Place, Upstream, answer, chunk, text_of, tokens

WITHIN_S = 0.1
TRIES = 5  # one of them in time proves the promise: in the others the machine may have stood still
TEACHER = "gpt-4o"


@pytest.fixture(scope="module")
def place(upstream: Upstream) -> Place:
    return upstream.place("teacher")


@pytest.fixture(scope="module")
def gateway(start: Start, upstream: Upstream, place: Place) -> Gateway:
    student = upstream.place("student", lambda one: one.whole(503, {}))
    routes = {
        "plain": route("t", mode="teacher"),
        "block": route("t", mode="teacher", release="block"),
        "fallen": route("t", "s", mode="student"),
    }
    return start({"t": configured(place.url), "s": configured(student.url)}, routes)


def waits(one: Conversation) -> None:
    one.wait_for_close()


def waits_after_head(one: Conversation) -> None:
    one.start_stream()
    one.wait_for_close()


def streams(one: Conversation) -> None:
    one.start_stream()
    one.events(tokens(TEACHER))
    one.wait_for_close()


def streams_on(one: Conversation) -> None:
    one.start_stream()
    one.seen.taken = True  # it never is: more is always on its way
    try:
        while not one.place.ended.is_set():
            one.events([chunk(TEACHER, content="word ")], pause_s=0.005)
    except OSError:
        one.seen.closed_at = time.monotonic()
        raise


def waits_in_body(one: Conversation) -> None:
    one.whole(200, b'{"id":', length=1000)
    one.wait_for_close()


CASES = [
    # what the upstream does, the route, streamed, whether the client has read something
    ("waiting for a whole answer", waits, "plain", False, False),
    ("in the middle of a whole answer", waits_in_body, "plain", False, False),
    ("waiting for a stream", waits, "plain", True, False),
    ("after the stream's head", waits_after_head, "plain", True, False),
    ("in the middle of a stream", streams, "plain", True, True),
    ("while tokens flow", streams_on, "plain", True, True),
    ("in the middle of a held back stream", streams, "block", True, False),
    ("waiting for the fallback", waits, "fallen", False, False),
    ("in the middle of the fallback's stream", streams, "fallen", True, True),
]


@pytest.mark.parametrize("abrupt", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(
    ("act", "name", "stream", "reads"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_upstream_is_told_at_once(
    gateway: Gateway, place: Place, act: object, name: str, stream: bool, reads: bool, abrupt: bool
) -> None:
    place.then = act  # type: ignore[assignment]
    took_s = [WITHIN_S]
    while min(took_s) >= WITHIN_S:
        assert len(took_s) <= TRIES, took_s
        took_s.append(leave(gateway, place, name, stream, reads, abrupt))


def leave(gateway: Gateway, place: Place, name: str, stream: bool, reads: bool, abrupt: bool) -> float:
    """Ask and leave; return how long it took the upstream's connection to close."""
    place.forget()
    before = len(gateway.records())
    client = gateway.client()
    client.post(chat(name, stream=stream))
    if reads:
        while b"word" not in (piece := client.read_piece()) and "Grüße".encode() not in piece:
            pass
    until(lambda: place.asked == 1 and place.seen[0].taken, "the gateway has what there is")
    if abrupt:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    left = time.monotonic()
    client.close()
    until(lambda: place.seen[0].closed_at is not None, "the upstream sees it")
    assert place.seen[0].closed_at is not None
    until(lambda: len(gateway.records()) > before, "the record is written")
    time.sleep(0.05)
    [record] = gateway.records()[before:]
    assert record["client_disconnected"] is True
    assert record["completed"] is False
    assert record["error"] == "client_gone"
    assert record["usage"]["kind"] == "partial"
    assert (record["usage"]["completion_tokens"] > 0) == (place.then in (streams, streams_on))
    assert record["attempts"][-1]["outcome"] == "client_gone"
    assert place.asked == 1
    if not reads:
        assert record["bytes_released_before_verdict"] == 0
    return place.seen[0].closed_at - left


def answers_later(one: Conversation) -> None:
    if one.streams:
        one.start_stream()
        one.events(tokens(TEACHER), pause_s=0.05)
        one.events([chunk(TEACHER, finish="stop"), "[DONE]"])
        one.end_stream()
    else:
        time.sleep(0.3)
        answer(one)


@pytest.mark.parametrize("waits_s", [0.0, 0.1])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["plain", "block"])
def test_a_half_closed_client_gets_its_answer(
    gateway: Gateway, place: Place, name: str, stream: bool, waits_s: float
) -> None:
    """It has said all it wanted to say (as `nc -N` does), and reads."""
    place.then = answers_later
    with gateway.client() as client:
        client.post(chat(name, stream=stream))
        time.sleep(waits_s)
        client.socket.shutdown(socket.SHUT_WR)
        got = client.read()
        assert (got.status, got.whole) == (200, True)
        got.body = got.body.replace(b":\n\n", b"") if stream else got.body
        assert got.text == text_of(TEACHER)
        assert client.closed()
    assert gateway.record(got.headers["x-graduand-id"])["completed"]


def test_between_two_attempts(gateway: Gateway, place: Place) -> None:
    """Gone while the gateway waits before a retry: the record is written at once, and nobody is asked again."""

    def refuses(one: Conversation) -> None:
        overloaded("retry-after: 1")(one)
        one.taken()

    place.then = refuses
    took_ms = [1000.0]
    while min(took_ms) >= 1000:
        assert len(took_ms) <= TRIES, took_ms
        place.forget()
        before = len(gateway.records())
        with gateway.client() as client:
            client.post(chat("plain"))
            until(lambda: place.asked and place.seen[0].taken, "the gateway has the refusal")
        until(lambda: len(gateway.records()) > before, "the record is written")  # noqa: B023
        took_ms.append(gateway.records()[-1]["timings"]["total_ms"])
    time.sleep(1.1)
    assert place.asked == 1


def test_nothing_is_left_behind(gateway: Gateway) -> None:
    until(lambda: gateway.total("graduand_in_flight_requests") == 0, "no request is under way")
    assert gateway.total("graduand_requests_total", "cancelled") == len(
        [one for one in gateway.records() if not one["completed"]]
    )
    [worker] = gateway.worker_ids()
    until(lambda: len(os.listdir(f"/proc/{worker}/fd")) < 40, "its connections are closed")
