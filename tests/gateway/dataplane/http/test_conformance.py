"""HTTP/1.1 by the book, against a real socket: every row of `conformance.CASES`."""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from graduand.gateway.dataplane.http.server import Request
from tests.gateway.dataplane.http.conformance import CASES, Case, Right
from tests.gateway.dataplane.inprocess import serving

STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
MARK = b"GET /the-mark HTTP/1.1\r\nhost: a\r\n\r\n"
MARKED = b"nothing at '/the-mark'"
DOCUMENT = Path(__file__).parents[4] / "docs" / "dataplane.md"


@dataclass
class Server:
    """A data plane without routes, and what its application has seen."""

    port: int
    seen: list[Request]

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def turn(self) -> None:
        """Return once everything that was sent before has been read: the server is one loop, and has turned twice since."""
        with self.connect() as other:
            for _ in range(2):
                other.sendall(MARK)
                _until(other, b"", lambda said: MARKED in said)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    seen: list[Request] = []
    with serving(tmp_path_factory.mktemp("plane"), [], [], seen=seen) as port:
        yield Server(port, seen)


def _until(connection: socket.socket, said: bytes, enough: Callable[[bytes], bool]) -> tuple[bytes, bool]:
    """What is said until it is enough, and whether the connection has closed before."""
    while not enough(said):
        try:
            data = connection.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            return said, True
        said += data
    return said, False


def play(server: Server, case: Case) -> tuple[bytes, bool]:
    """What is answered to a case's bytes, and whether the connection stays open."""
    server.seen.clear()
    with server.connect() as connection:
        connection.sendall(case.sent)
        said, closed = _until(connection, b"", lambda said: len(STATUS.findall(said)) >= len(case.does))
        server.turn()
        if case.right is Right.AWAITED:
            connection.setblocking(False)
            try:
                more = connection.recv(1)
            except BlockingIOError:
                return said, True
            return said + more, bool(more)
        if not closed:
            if case.stays:
                connection.sendall(MARK)
            said, closed = _until(connection, said, lambda said: MARKED in said)
        return said, not closed


@pytest.mark.parametrize("case", CASES, ids=[f"{one.section}: {one.name}" for one in CASES])
def test_case(server: Server, case: Case) -> None:
    said, stays = play(server, case)
    before, _, _ = said.rpartition(b"HTTP/1.1 404 ") if MARKED in said else (said, b"", b"")
    assert tuple(int(status) for status in STATUS.findall(before)) == case.does
    assert tuple(one.body for one in server.seen if one.path != b"/the-mark") == case.hands_on
    assert stays is case.stays
    _is_right(case)
    _are_well_formed(before, case)


def _is_right(case: Case) -> None:
    """Whether a row's outcome, which was just seen, is what the RFCs allow."""
    if case.right is Right.REFUSED:
        assert case.does[-1] >= 400
        assert not case.hands_on
        assert not case.stays
    elif case.right is Right.TAKEN:
        assert case.hands_on
        assert [one for one in case.does if one >= 200]
    elif case.right is Right.EITHER:
        assert len(case.does) == 1
        assert case.choice
        assert case.hands_on or (case.does[0] >= 400 and not case.stays)
    else:
        assert all(one < 200 for one in case.does)
        assert not case.hands_on


def _are_well_formed(said: bytes, case: Case) -> None:
    """What RFC 9110 asks of every answer: a date, a length that is right, Allow with 405, and whether it is the last one."""
    number = 0
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        status = int(head[9:12])
        if status < 200:
            continue
        lines = head.lower().split(b"\r\n")[1:]
        names = [line.partition(b":")[0] for line in lines]
        assert sorted(set(names)) == sorted(names), "a header is there twice"
        assert {b"date", b"content-length", b"content-type"} <= set(names)
        assert (b"allow" in names) is (status == 405)
        size = int(dict(line.split(b": ", 1) for line in lines)[b"content-length"])
        body = b"" if case.sent.startswith(b"HEAD ") else said[:size]
        assert len(body) == (0 if case.sent.startswith(b"HEAD ") else size)
        said = said[len(body) :]
        number += 1
        last = not said and not case.stays
        assert (b"connection: close" in lines) is last or b"HTTP/1.0" in case.sent
    assert number == sum(one >= 200 for one in case.does)


def test_names_are_unlike() -> None:
    names = [(one.section, one.name) for one in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", [one for one in CASES if one.choice], ids=lambda one: one.name)
def test_choices_are_listed_with_their_reason(case: Case) -> None:
    assert f"| {case.name} | {case.section} | {case.does[0]} | {case.choice} |" in DOCUMENT.read_text("utf-8")


def test_no_choice_is_listed_that_is_none() -> None:
    _, _, rest = DOCUMENT.read_text("utf-8").partition("| sent | RFC | we answer | why |\n|---|---|---|---|\n")
    listed, _, _ = rest.partition("\n\n")
    assert len(listed.strip().splitlines()) == sum(bool(one.choice) for one in CASES)
