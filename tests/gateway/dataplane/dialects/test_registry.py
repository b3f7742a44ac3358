"""A dialect that the data plane has never heard of is served by it, whole and streamed, translated and passed on."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from graduand.gateway.dataplane.dialects import registry
from graduand.gateway.model.routes import Route, Student, Teacher, read_unit
from tests.gateway.dataplane.dialects.toy import Toy, framed
from tests.gateway.dataplane.inprocess import records, serving
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.faults import refuses
from tests.gateway.running import until
from tests.gateway.speaking import Answer, Client
from tests.gateway.upstream import Conversation, Upstream, answer, text_of, tokens

KEY = ("x-toy-key: k1", "x-toy-mood: fine")
TEXT, PARTS = text_of("gpt-4o"), ["Grüße ", "und 好"]


def says(conversation: Conversation) -> None:
    """An upstream that speaks the toy's API."""
    if conversation.seen.data["live"]:
        conversation.start_stream()
        for number, text in enumerate(PARTS):
            conversation.piece(framed("part", {"number": number, "text": text}))
        conversation.piece(framed("end", {"cost": [3, 2]}))
        conversation.end_stream()
    else:
        conversation.whole(200, {"said": "".join(PARTS), "cost": [3, 2]})


def breaks(conversation: Conversation) -> None:
    conversation.start_stream()
    conversation.events(tokens("gpt-4o"))
    conversation.taken()
    conversation.reset()


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.DIALECTS, b"/toy", Toy())


def route(name: str, teacher: str, student: str | None = None, mode: str = "teacher", **more: Any) -> Route:
    held = None if student is None else Student(student, "small@3f9c1a")
    return Route(
        name, Teacher(teacher, "gpt-4o"), held, mode, 10_000 if mode == "student" else 0, read_unit("user"), **more
    )


def ask(port: int, to: str, *, live: bool, headers: tuple[str, ...] = KEY) -> Answer:
    with Client(port) as client:
        return client.ask(orjson.dumps({"to": to, "say": "hello", "live": live}), "/toy", headers)


def events(answer: Answer) -> list[tuple[str, Any]]:
    found = re.findall(rb"event: (.*)\ndata: (.*)\n\n", answer.body)
    return [(kind.decode(), orjson.loads(data)) for kind, data in found]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(("kind", "text", "cost"), [("openai", TEXT, [7, 5]), ("toy", "".join(PARTS), [3, 2])])
def test_a_new_dialect(tmp_path: Path, upstream: Upstream, kind: str, text: str, cost: Any, live: bool) -> None:
    place = upstream.place(f"{kind}-{live}", says if kind == "toy" else answer)
    with serving(tmp_path, [one_upstream("t", kind, place.url)], [route("triage", "t")], ("k0", "k1")) as port:
        got = ask(port, "triage", live=live)
    assert (got.status, got.whole, got.headers["x-graduand-route"]) == (200, True, "triage")
    if live:
        *parts, (kind_of_end, end) = events(got)
        assert (kind_of_end, end) == ("end", {"parts": len(parts), "cost": cost})
        assert [data["number"] for _, data in parts] == list(range(1, len(parts) + 1))
        assert "".join(data["text"] for _, data in parts) == text
    else:
        assert got.data == {"said": text, "cost": cost}
    [seen] = place.seen
    assert seen.header("x-toy-mood") == "fine"
    assert seen.header("x-toy-version") == ("1" if kind == "toy" else None)
    [record] = records(tmp_path)
    assert (record["endpoint"], record["client"], record["stream"], record["completed"]) == ("/toy", 1, live, True)
    assert record["usage"] == {"prompt_tokens": cost[0], "completion_tokens": cost[1], "kind": "exact"}


def test_its_students_failure_falls_back(tmp_path: Path, upstream: Upstream) -> None:
    good, bad = upstream.place("good", says), upstream.place("bad", refuses(500, "down"))
    upstreams = [one_upstream("t", "toy", good.url), one_upstream("s", "openai", bad.url)]
    with serving(tmp_path, upstreams, [route("triage", "t", "s", "student", retries=0)], ("k1",)) as port:
        got = ask(port, "triage", live=True)
    assert (got.headers["x-graduand-reason"], events(got)[-1][0]) == ("fallback:http_500", "end")


def test_its_requests_are_copied(tmp_path: Path, upstream: Upstream) -> None:
    own, chat = upstream.place("own", says), upstream.place("chat", answer)
    upstreams = [one_upstream("t", "toy", own.url), one_upstream("s", "openai", chat.url)]
    with serving(tmp_path, upstreams, [route("triage", "t", "s", "shadow")], ("k1",)) as port:
        assert events(ask(port, "triage", live=True))[-1][1]["cost"] == [3, 2]
        until(lambda: len(records(tmp_path)) == 2, "the copy's record is written")
    served, copy = records(tmp_path)
    assert (copy["role"], copy["parent_id"], copy["completed"]) == ("shadow", served["id"], True)
    assert (served["usage"]["completion_tokens"], copy["usage"]["completion_tokens"]) == (2, 5)
    assert text_of("small@3f9c1a") in copy["response_json"]


REFUSED = [
    ("x-toy-key: wrong", {"to": "triage", "say": "a"}, 401), ("x-toy-key: k1", {"to": "triage"}, 400),
    ("x-toy-key: k1", {"to": "nobody", "say": "a"}, 404), ("x-toy-key: k1", {"to": "down", "say": "a"}, 500),
]  # fmt: skip


@pytest.mark.parametrize(("key", "body", "status"), REFUSED)
def test_its_errors_have_its_form(
    tmp_path: Path, upstream: Upstream, key: str, body: dict[str, Any], status: int
) -> None:
    place = upstream.place(f"down-{status}", refuses(500, "down"))
    routes = [route("triage", "t"), route("down", "t", retries=0)]
    with serving(tmp_path, [one_upstream("t", "openai", place.url)], routes, ("k1",)) as port, Client(port) as client:
        got = client.ask(orjson.dumps(body), "/toy", (key,))
    assert (got.status, got.data["status"]) == (status, status)
    assert got.data["oh no"]


def test_what_breaks_off_ends_in_its_error_event(tmp_path: Path, upstream: Upstream) -> None:
    place = upstream.place("breaks", breaks)
    with serving(tmp_path, [one_upstream("t", "openai", place.url)], [route("triage", "t")], ("k1",)) as port:
        got = ask(port, "triage", live=True)
    assert not got.whole
    assert events(got)[-1][0] == "oh no"
