"""What hostile clients make a worker hold: measured as the process's memory, printed, and bounded generously."""

import gc
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from graduand.gateway.dataplane.exchange import Exchange
from graduand.gateway.dataplane.http.bodies import Held
from graduand.gateway.model.routes import Route, Teacher, Unit
from tests.gateway.dataplane.inprocess import serving
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.faults import refuses, reset
from tests.gateway.running import until
from tests.gateway.speaking import Client, chat, request
from tests.gateway.upstream import Action, Upstream, answer

KEY = "key-of-a-client"
MEGABYTE = 1 << 20
LONG = 10 * MEGABYTE
LARGE = request(
    b'{"model":"nobody","messages":[{"role":"user","content":"%b"}]}' % (b"x" * MEGABYTE),
    headers=(f"authorization: Bearer {KEY}",),
)
BEGUN = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%b\r\n"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@contextmanager
def growth(what: str, most: int) -> Iterator[None]:
    """Print by how much the process has grown, and fail beyond `most` bytes."""
    gc.collect()
    before = resident_bytes()
    yield
    grown = resident_bytes() - before
    print(f"{what}: {before / MEGABYTE:.0f} MiB and {grown / MEGABYTE:+.0f}")
    assert grown < most


def unfinished(port: int, stack: ExitStack, lines: bytes) -> socket.socket:
    """A connection on which all of a long body has been sent but its last byte, as far as somebody reads it."""
    made = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
    with suppress(ConnectionError, TimeoutError):  # refused, and closed meanwhile
        made.sendall(BEGUN % (LONG, lines) + bytes(LONG - 1))
    return made


@pytest.fixture
def held() -> Held:
    return Held()


def test_requests_that_were_answered_leave_nothing(tmp_path: Path, held: Held) -> None:
    with serving(tmp_path, [], [], (KEY,), held=held) as port:
        with Client(port) as client:
            client.send(LARGE)
            assert client.read().status == 404
        gc.disable()  # nothing may wait for the collector
        try:
            with growth("300 answered requests of 1 MiB, each on a connection of its own", 200 * MEGABYTE):
                for _ in range(300):
                    with Client(port) as client:
                        client.send(LARGE)
                        assert client.read().status == 404
        finally:
            gc.enable()
        until(lambda: held.bytes == 0, "every body is given back")


def test_bodies_of_whoever_has_no_key_are_not_kept(tmp_path: Path, held: Held) -> None:
    with serving(tmp_path, [], [], (KEY,), held=held) as port, ExitStack() as stack:
        with growth("60 unfinished bodies of 10 MiB without a key", 100 * MEGABYTE):
            for _ in range(60):
                made = unfinished(port, stack, b"")
                assert made.recv(12) == b"HTTP/1.1 401"
        assert held.bytes == 0


def test_bodies_of_whoever_has_a_key_are_bounded_together(tmp_path: Path) -> None:
    held = Held(most=80 * MEGABYTE)
    with serving(tmp_path, [], [], (KEY,), held=held) as port:
        with ExitStack() as stack, growth("60 unfinished bodies of 10 MiB with a key, 80 MiB together", 200 * MEGABYTE):
            made = [unfinished(port, stack, b"authorization: Bearer %b\r\n" % KEY.encode()) for _ in range(60)]
            assert {one.recv(12) for one in made[8:]} == {b"HTTP/1.1 503"}
            assert held.bytes == 80 * MEGABYTE
        until(lambda: held.bytes == 0, "every body is given back")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaves", "status"),
    [(answer, 200), (refuses(400, "no"), 400), (refuses(503, "down"), 503), (reset, 502)],
    ids=["answers", "refuses", "is down", "resets"],
)
def test_an_exchange_that_has_ended_is_freed_without_the_collector(
    tmp_path: Path, upstream: Upstream, behaves: Action, status: int, stream: bool
) -> None:
    """It holds the request's body, and what it was parsed to."""
    place = upstream.place(f"freed-{status}-{stream}", behaves)
    routes = [Route("m", Teacher("t", "gpt-4o"), None, "teacher", 0, Unit(("user",)), retries=0)]
    with serving(tmp_path, [one_upstream("t", "openai", place.url)], routes) as port:
        gc.collect()
        gc.disable()
        try:
            with Client(port) as client:
                assert client.ask(chat("m", stream=stream)).status == status
                assert client.get("/healthz").status == 200  # the exchange has ended in between
            until(lambda: not _exchanges(), lambda: f"an exchange is kept by {gc.get_referrers(*_exchanges())}")
        finally:
            gc.enable()


def _exchanges() -> list[object]:
    return [one for one in gc.get_objects() if type(one) is Exchange]
