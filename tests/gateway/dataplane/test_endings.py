"""How streams of upstreams begin and end on the wire, all of them whole: for clients and for copies, and nobody is ill of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.model.routes import Route, Student, Teacher
from tests.gateway.dataplane.inprocess import Running, records
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.running import until
from tests.gateway.speaking import Client, chat
from tests.gateway.upstream import Conversation, Upstream, chunk, good_events, text_of, usage_chunk

TEACHER, STUDENT = "gpt-4o", "small@3f9c1a0b22de"


def encoded(model: str, *, usage: bool = True) -> bytes:
    """A whole stream as one text of events."""
    events = [event if isinstance(event, str) else json.dumps(event) for event in good_events(model, usage=usage)]
    return "".join(f"data: {event}\n\n" for event in events).encode()


def in_two_lines(model: str) -> bytes:
    """The first text's JSON broken over two `data:` lines, which a newline joins."""
    first, *others = encoded(model).split(b"\n\n")
    return b"\n\n".join([first.replace(b', "', b',\ndata: "', 1), *others])


def last_unended(model: str) -> bytes:
    """After the end of every choice, a last event whose end is the connection's."""
    return (
        encoded(model, usage=False).removesuffix(b"data: [DONE]\n\n")
        + b"data: "
        + json.dumps(usage_chunk(model)).encode()
    )


FORMS: dict[str, Callable[[str], bytes]] = {
    "usual": encoded,
    "[DONE] and one newline": lambda model: encoded(model).removesuffix(b"\n"),
    "[DONE] and no newline": lambda model: encoded(model).removesuffix(b"\n\n"),
    "[DONE] without a blank after the colon": lambda model: encoded(model).replace(b"data: [DONE]\n\n", b"data:[DONE]\n"),
    "finish_reason, one newline": lambda model: encoded(model, usage=False).removesuffix(b"\ndata: [DONE]\n\n"),
    "finish_reason, no newline": lambda model: encoded(model, usage=False).removesuffix(b"\n\ndata: [DONE]\n\n"),
    "usage, no newline": last_unended,
    "two data lines": in_two_lines,
    "byte order mark": lambda model: b"\xef\xbb\xbf" + encoded(model),
    "carriage returns": lambda model: encoded(model).replace(b"\n", b"\r"),
    "both": lambda model: encoded(model).replace(b"\n", b"\r\n").removesuffix(b"\r\n"),
    "a comment last": lambda model: encoded(model) + b": bye",
    "named events": lambda model: encoded(model).replace(b"data: ", b"event: message\nid: 7\nretry: 9\ndata: "),
}  # fmt: skip
TYPES = ["text/event-stream", "Text/Event-Stream; Charset=UTF-8", "TEXT/EVENT-STREAM"]


@pytest.mark.parametrize("size", [1 << 20, 7])
@pytest.mark.parametrize("form", FORMS)
def test_a_stream_is_whole(tmp_path: Path, upstream: Upstream, form: str, size: int) -> None:
    kind = TYPES[len(form) % len(TYPES)]

    def act(one: Conversation) -> None:
        data = FORMS[form](one.seen.data["model"])
        one.send(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for at in range(0, len(data), size):
            one.piece(data[at : at + size])
        one.end_stream()

    place = upstream.place(tmp_path.name, act)
    upstreams = [one_upstream("t", "openai", place.url), one_upstream("s", "vllm", place.url)]
    running = Running(tmp_path, upstreams, [Route("r", Teacher("t", TEACHER), Student("s", STUDENT), "shadow")])
    with Client(running.port) as client:
        got = client.ask(chat("r", stream=True))
        until(lambda: place.asked == 2 and not running.plane.shadower.size, "the copy has ended")
    running.close()
    assert (got.status, got.whole, got.text, got.events[-1]) == (200, True, text_of(TEACHER), "[DONE]")
    served, copy = both(tmp_path)
    assert (served["completed"], served["error"], len(served["attempts"])) == (True, None, 1)
    assert (copy["completed"], copy["error"], copy["attempts"][0]["outcome"]) == (True, None, "ok")


def both(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    found = {one["role"]: one for one in records(folder)}
    return found["served"], found["shadow"]


PARTS: list[bytes] = [
    b'data: {"id": "chatcmpl-1", "choi',
    b"data: " + json.dumps(chunk(TEACHER, content="more")).encode()[:-1],
    b"data: [DO",
]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_an_event_is_no_end(tmp_path: Path, upstream: Upstream, part: bytes) -> None:
    events = encoded(TEACHER, usage=False).split(b"\n\n")[:3]

    def act(one: Conversation) -> None:
        one.start_stream()
        one.piece(b"\n\n".join([*events, part]))
        one.end_stream()

    place = upstream.place(tmp_path.name, act)
    running = Running(
        tmp_path, [one_upstream("t", "openai", place.url)], [Route("r", Teacher("t", TEACHER), retries=0)]
    )
    with Client(running.port) as client:
        got = client.ask(chat("r", stream=True))
    running.close()
    assert (got.whole, got.events[-1]["error"]["code"]) == (False, "truncated")
