"""Whether a stream is asked for its usage where the client does not ask: not of who refuses it, and never for the client."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.model.routes import Route, Teacher
from tests.gateway.dataplane.inprocess import Running, records
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.speaking import Answer, Client, chat
from tests.gateway.upstream import (
    Action,
    Conversation,
    Place,
    Upstream,
    answer,
    asked_usage,
    chunk,
    text_of,
    tokens,
    usage_chunk,
)

TEACHER = "gpt-4o"
Json = dict[str, Any]
DETAIL = {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
REFUSALS: dict[str, tuple[int, Json | bytes]] = {
    "detail": (422, {"detail": [DETAIL]}),
    "openai": (400, {"error": {"message": "Unrecognized request argument supplied: stream_options", "type": "x"}}),
    "param": (400, {"error": {"message": "Unknown parameter.", "param": "stream_options.include_usage"}}),
    "text": (400, b"json: unknown field \"stream_options\""),
    "server": (500, {"message": "unexpected keyword argument 'stream_options'"}),
    "extra": (422, {"detail": [{"type": "extra_forbidden", "loc": ["body"], "msg": "Extra inputs are not permitted"}]}),
    "unnamed": (400, {"error": {"message": "Unrecognized request argument supplied"}}),
    "no words": (400, b""),
    "a page": (422, b"<html><h1>Unprocessable</h1></html>"),
    "not implemented": (501, b"<html></html>"),
    "ok": (200, {"error": {"message": "stream_options is not supported", "code": 400}}),
}  # fmt: skip


class World:
    def __init__(self, folder: Path, server: Upstream, then: Action, stream_usage: str) -> None:
        self.folder = folder
        self.place: Place = server.place(folder.name, then)
        upstream = replace(one_upstream("t", "openai", self.place.url), stream_usage=stream_usage)
        self.running = Running(folder, [upstream], [Route("r", Teacher("t", TEACHER))])

    def ask(self, path: str = "/v1/chat/completions", **more: Any) -> Answer:
        with Client(self.running.port) as client:
            return client.ask(chat("r", **{"stream": True, **more}), path)

    def options(self) -> list[Any]:
        """What each request so far said of its stream."""
        return [seen.data.get("stream_options", "none") for seen in self.place.seen]


Make = Callable[..., World]


@pytest.fixture
def world(tmp_path: Path, upstream: Upstream) -> Iterator[Make]:
    made: list[World] = []

    def make(then: Action = answer, stream_usage: str = "ask") -> World:
        made.append(World(tmp_path, upstream, then, stream_usage))
        return made[-1]

    yield make
    for one in made:
        if one.running.loop.is_running():
            one.running.close()


def refuses(how: str) -> Action:
    """Refuse whoever says anything of `stream_options`."""

    def act(one: Conversation) -> None:
        if "stream_options" in one.seen.data:
            one.whole(*REFUSALS[how])
        else:
            answer(one)

    return act


ASKED = {"include_usage": True}


@pytest.mark.parametrize("how", REFUSALS)
def test_what_is_refused_is_tried_without_and_remembered(world: Make, how: str) -> None:
    it = world(refuses(how))
    for _ in range(2):
        got = it.ask()
        assert (got.status, got.whole, got.text) == (200, True, text_of(TEACHER))
    assert it.options() == [ASKED, "none", "none"]
    it.running.close()
    first, second = records(it.folder)
    assert [len(one["attempts"]) for one in (first, second)] == [2, 1]
    assert first["usage"]["kind"] == "estimated"


def test_who_has_taken_it_is_not_suspected_of_what_it_does_not_name(world: Make) -> None:
    """One refusal without words is then about the request: it is asked once, and usage goes on being counted."""
    it = world()
    assert it.ask().whole
    it.place.then = lambda one: one.whole(400, b"")
    assert it.ask().status == 400
    it.place.then = answer
    assert it.ask().whole
    assert it.options() == [ASKED] * 3


def test_who_refuses_in_both_forms_has_taught_nothing(world: Make) -> None:
    it = world(lambda one: one.whole(400, {"error": {"message": "unknown field `foo`"}}))
    got = it.ask(foo=1)
    assert (got.status, got.error["message"]) == (400, "unknown field `foo`")
    it.place.then = answer
    assert it.ask().whole
    assert it.options() == [ASKED, "none", ASKED]


def test_many_at_once_remember_the_same(world: Make) -> None:
    it = world(refuses("detail"))
    threads = [threading.Thread(target=it.ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    it.place.forget()
    assert it.ask().whole
    assert it.options() == ["none"]


def test_who_is_never_to_be_asked_is_not(world: Make) -> None:
    it = world(refuses("detail"), "never")
    assert it.ask().whole
    assert it.options() == ["none"]


def test_what_the_client_asks_for_is_the_clients_affair(world: Make) -> None:
    it = world(refuses("openai"), "never")
    got = it.ask(stream_options={"include_usage": True})
    assert (got.status, "stream_options" in got.error["message"]) == (400, True)
    assert it.options() == [ASKED]
    assert it.ask().whole  # and nothing is remembered of it


def test_the_clients_own_options_stay_as_they_were(world: Make) -> None:
    it = world(refuses("openai"))
    own = {"include_usage": False, "include_obfuscation": False}
    got = it.ask(stream_options=own)
    assert got.status == 400  # its own options are what is refused
    assert it.options() == [{**own, "include_usage": True}, own]
    assert it.ask().whole
    assert it.options()[2:] == [ASKED, "none"]  # nothing was learnt from a request that failed in both forms


def test_a_refusal_that_repeats_the_prompt_teaches_nothing(world: Make) -> None:
    """The words are a client's: if they ended the counting of everybody's tokens, anybody could."""

    def act(one: Conversation) -> None:
        text = one.seen.data["messages"][0]["content"]
        if "bad" in text:
            one.whole(400, {"error": {"message": f"invalid prompt: {text}", "type": "invalid_request_error"}})
        else:
            answer(one)

    it = world(act)
    got = it.ask(messages=[{"role": "user", "content": "bad: stream_options"}])
    assert (got.status, it.place.asked) == (400, 2)
    assert it.ask().whole
    assert it.options()[-1] == ASKED


def test_lorax_requests_too(world: Make) -> None:
    it = world(refuses("detail"))
    for _ in range(2):
        with Client(it.running.port) as client:
            got = client.ask({"inputs": "hello", "parameters": {"adapter_id": "r"}}, "/generate_stream")
        assert (got.status, got.whole) == (200, True)
    assert it.options() == [ASKED, "none", "none"]


def like_vllm(one: Conversation) -> None:
    """Usage with every chunk, if that is asked for, and with the last text chunk in any case where usage is asked for."""
    options = one.seen.data.get("stream_options") or {}
    continuous = options.get("include_usage") and options.get("continuous_usage_stats")
    one.start_stream()
    for number, event in enumerate((*tokens(TEACHER), chunk(TEACHER, finish="stop"))):
        ends = event["choices"][0]["finish_reason"]
        told = continuous or (asked_usage(one) and ends)
        one.events([{**event, "usage": usage(number)} if told else event])
    one.events([*([usage_chunk(TEACHER)] if asked_usage(one) else []), "[DONE]"])
    one.end_stream()


def usage(number: int) -> Json:
    return {"prompt_tokens": 7, "completion_tokens": number, "total_tokens": 7 + number}


@pytest.mark.parametrize(
    "options",
    [None, {}, {"include_usage": False}, {"include_usage": False, "continuous_usage_stats": True},
     {"continuous_usage_stats": True}, {"include_usage": None, "continuous_usage_stats": True}],
)  # fmt: skip
def test_the_client_gets_no_usage_that_it_did_not_ask_for(world: Make, options: Json | None) -> None:
    it = world(like_vllm)
    got = it.ask(**({} if options is None else {"stream_options": options}))
    assert (got.whole, got.text) == (True, text_of(TEACHER))
    assert all("usage" not in event for event in got.events[:-1]), got.events
    it.running.close()
    (record,) = records(it.folder)
    assert record["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "kind": "exact"}
    assert "usage" in json.loads(record["response_json"])


@pytest.mark.parametrize("continuous", [False, True])
def test_the_client_gets_the_usage_that_it_asked_for(world: Make, continuous: bool) -> None:
    it = world(like_vllm)
    got = it.ask(stream_options={"include_usage": True, "continuous_usage_stats": continuous})
    told = [event["usage"] for event in got.events[:-1] if "usage" in event]
    assert told[-1]["completion_tokens"] == 5
    assert len(told) == (len(got.events) - 1 if continuous else 2)
