"""What a record says of waiting, and of the model below the student: nothing where nobody knows."""

from typing import Any

import pytest

from graduand.gateway.dataplane.dialects.answers import queued_ms
from graduand.gateway.state.sqlite import SqliteStore
from tests.gateway.conftest import Start
from tests.gateway.faults import refuses
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import Client, chat
from tests.gateway.upstream import Conversation, Upstream, answer, message

STUDENT, BASE = "small@3f9c1a0b22de", "HuggingFaceTB/SmolLM2-135M-Instruct"


def engine(conversation: Conversation) -> None:
    if conversation.streams:
        answer(conversation)
    else:
        conversation.whole(200, message(STUDENT), "x-queue-time: 17", "x-inference-time: 40")


@pytest.fixture(scope="module")
def gateway(start: Start, upstream: Upstream) -> Gateway:
    teacher, student = upstream.place("teacher"), upstream.place("engine", engine)
    broken = upstream.place("broken", refuses(500, "down"))
    upstreams = {
        "openai": configured(teacher.url), "lorax": configured(student.url, kind="lorax"),
        "vllm": configured(student.url, kind="vllm"), "broken": configured(broken.url, kind="lorax"),
    }  # fmt: skip
    routes: dict[str, Any] = {
        "lorax": route("openai", "lorax", mode="student"),
        "vllm": route("openai", "vllm", mode="student"),
        "shadow": route("openai", "lorax", mode="shadow"),
        "fallback": {**route("openai", "broken", mode="student"), "retries": 0},
        "held_back": route("openai", "lorax", mode="student", release="block", checks=[{"max_length": 3}]),
        "unregistered": route("openai", "lorax", mode="student"),
    }
    routes["unregistered"]["student"] = {"upstream": "lorax", "adapter": "other@3f9c1a0b22de"}
    gateway = start(upstreams, routes)
    store = SqliteStore(gateway.folder / "state.db")
    store.add_adapter(STUDENT, "lorax", "/adapters/small", who="test", base=BASE)
    version = store.version()
    until(lambda: store.served().get("0", 0) >= version, "the worker serves by the new table")
    store.close()
    return gateway


def ask(gateway: Gateway, model: str, **more: Any) -> dict[str, Any]:
    with Client(gateway.port) as client:
        got = client.ask(chat(model, **more))
    assert got.status == 200
    return gateway.record(got.headers["x-graduand-id"])


def copy_of(gateway: Gateway, record: dict[str, Any]) -> dict[str, Any]:
    def copies() -> list[dict[str, Any]]:
        return [one for one in gateway.records() if one["parent_id"] == record["id"]]

    until(copies, "the copy's record is written")
    return copies()[0]


def said(record: dict[str, Any]) -> tuple[float | None, str | None]:
    return record["timings"]["queue_ms"], record["base_model"]


def test_the_engine_says_how_long_a_request_waited(gateway: Gateway) -> None:
    assert said(ask(gateway, "lorax")) == (17.0, BASE)


def test_of_streams_and_of_other_engines_nobody_knows(gateway: Gateway) -> None:
    assert said(ask(gateway, "lorax", stream=True)) == (None, BASE)
    assert said(ask(gateway, "vllm")) == (None, BASE)


def test_a_copys_time_in_the_gateways_queue(gateway: Gateway) -> None:
    served = ask(gateway, "shadow")
    assert said(served) == (None, None)
    waited, base = said(copy_of(gateway, served))
    assert waited is not None
    assert 0 <= waited < 5000
    assert base == BASE


def test_the_teacher_has_no_base(gateway: Gateway) -> None:
    assert said(ask(gateway, "fallback")) == (None, None)


def test_what_was_held_back_keeps_what_was_said_of_it(gateway: Gateway) -> None:
    served = ask(gateway, "held_back")
    assert (served["reason"].startswith("fallback:check"), said(served)) == (True, (None, None))
    assert said(copy_of(gateway, served)) == (17.0, BASE)


def test_an_adapter_that_nobody_registered_has_no_base(gateway: Gateway) -> None:
    assert said(ask(gateway, "unregistered")) == (17.0, None)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [(b"0", 0.0), (b"12", 12.0), (b"", None), (b"-1", None), (b"soon", None), (b"9" * 400, None), (b"1e9", None)],
)
def test_only_a_number_is_believed(told: bytes, wanted: float | None) -> None:
    assert queued_ms({b"x-queue-time": told}) == wanted
    assert queued_ms({}) is None
