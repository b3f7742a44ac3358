"""What a real gateway says its answers cost: by tokens, by the hour, and against the teacher; the log and the metrics agree."""

import math
from typing import Any

import pytest

from tests.gateway.conftest import Start
from tests.gateway.driving import requests_of, traffic
from tests.gateway.faults import refuses
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import Client, chat
from tests.gateway.upstream import Conversation, Upstream, message

TEACHER, STUDENT = "gpt-4o", "small@3f9c1a0b22de"
# What every answer of the test's upstream uses: 7 tokens in and 5 out.
OF_TEACHER = (7 * 2.5 + 5 * 10) / 1e6
OF_HOSTED = (7 * 0.2 + 5 * 0.4) / 1e6
PRICES = {"gpt-4o": {"input": 2.5, "output": 10, "cached_input": 1.25}, "small": {"input": 0.2, "output": 0.4}}


def cached(conversation: Conversation) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    conversation.whole(200, message(TEACHER, usage=usage))


@pytest.fixture(scope="module")
def gateway(start: Start, upstream: Upstream) -> Gateway:
    teacher, student = upstream.place("teacher"), upstream.place("student")
    upstream.place("broken", refuses(500, "down"))
    upstream.place("cached", cached)
    upstreams = {
        "openai": configured(teacher.url), "hosted": configured(student.url), "gpu": configured(student.url, gpu_hour=3.6),
        "broken": configured(f"{student.url.removesuffix('student')}broken", gpu_hour=3.6),
        "cached": configured(f"{student.url.removesuffix('student')}cached"), "free": configured(student.url),
    }  # fmt: skip
    routes: dict[str, Any] = {
        "teacher": route("openai"),
        "cached": route("cached"),
        "hosted": route("openai", "hosted", mode="student"),
        "gpu": {**route("openai", "gpu", mode="student"), "audit_sample": 100},
        "shadow": route("openai", "hosted", mode="shadow"),
        "held_back": route("openai", "hosted", mode="student", release="block", checks=[{"max_length": 3}]),
        "fallback": {**route("openai", "broken", mode="student"), "retries": 0},
        "unpriced": {"teacher": {"upstream": "free", "model": "unheard-of"}},
    }
    for name in ("gpu", "fallback"):  # else the student has two prices
        routes[name]["student"] = {"upstream": routes[name]["student"]["upstream"], "adapter": "other@3f9c1a0b22de"}
    return start(upstreams, routes, prices=PRICES)


def ask(gateway: Gateway, model: str, **more: Any) -> dict[str, Any]:
    with Client(gateway.port) as client:
        answer = client.ask(chat(model, **more))
    assert answer.status == 200
    return gateway.record(answer.headers["x-graduand-id"])


def spent(gateway: Gateway, *labels: str) -> float:
    return gateway.total("graduand_cost_dollars_total", *labels)


@pytest.mark.parametrize("stream", [False, True])
def test_by_tokens(gateway: Gateway, stream: bool) -> None:
    before = spent(gateway, "teacher", "served")
    record = ask(gateway, "teacher", stream=stream)
    assert record["cost"] == pytest.approx(OF_TEACHER)
    assert spent(gateway, "teacher", "served") - before == pytest.approx(OF_TEACHER)


def test_cached_prompts_are_cheaper(gateway: Gateway) -> None:
    assert ask(gateway, "cached")["cost"] == pytest.approx((3 * 2.5 + 4 * 1.25 + 5 * 10) / 1e6)


def test_what_has_no_price_costs_nobody_knows_what(gateway: Gateway) -> None:
    assert ask(gateway, "unpriced")["cost"] is None
    assert spent(gateway, "unpriced") == 0


def test_a_student_saves_the_difference(gateway: Gateway) -> None:
    record = ask(gateway, "hosted")
    assert record["cost"] == pytest.approx(OF_HOSTED)
    assert spent(gateway, "hosted", "student", STUDENT, "served") == pytest.approx(OF_HOSTED)
    assert gateway.total("graduand_avoided_dollars_total", "hosted") == pytest.approx(OF_TEACHER)
    assert gateway.total("graduand_saved_dollars", "hosted") == pytest.approx(OF_TEACHER - OF_HOSTED)


def test_copies_cost_and_save_nothing(gateway: Gateway) -> None:
    ask(gateway, "shadow")
    until(lambda: spent(gateway, "shadow", "student"), "the copy is charged")
    [copy] = [one for one in gateway.records() if (one["route"], one["role"]) == ("shadow", "shadow")]
    assert copy["cost"] == pytest.approx(OF_HOSTED)
    assert gateway.total("graduand_saved_dollars", "shadow") == pytest.approx(-OF_HOSTED)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_a_gate_held_back_is_paid_for_once(gateway: Gateway, stream: bool) -> None:
    before = spent(gateway, "held_back")
    record = ask(gateway, "held_back", stream=stream)
    assert (record["reason"], record["cost"]) == ("fallback:check:max_length", pytest.approx(OF_TEACHER))
    [unseen] = [one for one in gateway.records() if one["parent_id"] == record["id"]]
    assert (unseen["role"], unseen["cost"]) == ("held_back", pytest.approx(OF_HOSTED))
    assert [attempt["outcome"] for attempt in unseen["attempts"]] == ["ok"]
    assert spent(gateway, "held_back") - before == pytest.approx(OF_TEACHER + OF_HOSTED)
    assert gateway.total("graduand_avoided_dollars_total", "held_back") == 0


def test_by_the_hour_and_audits(gateway: Gateway) -> None:
    record = ask(gateway, "gpu")
    [attempt] = record["attempts"]
    assert record["cost"] == pytest.approx(attempt["ms"] / 1000 * 0.001, rel=0.2)  # 3.60 an hour is 0.1 cent a second
    until(lambda: spent(gateway, "gpu", "audit"), "the audit is charged")
    assert spent(gateway, "gpu", "teacher", "audit") == pytest.approx(OF_TEACHER)
    saved = gateway.total("graduand_saved_dollars", "gpu")
    assert saved == pytest.approx(OF_TEACHER - record["cost"] - OF_TEACHER, abs=1e-12)


def test_a_failed_student_is_paid_for_too(gateway: Gateway) -> None:
    record = ask(gateway, "fallback")
    student = spent(gateway, "fallback", "student")
    assert record["arm"] == "teacher"
    assert student > 0
    assert record["cost"] == pytest.approx(OF_TEACHER + student)
    assert gateway.total("graduand_avoided_dollars_total", "fallback") == 0


def test_many_at_once_never_cost_more_than_the_clock(gateway: Gateway) -> None:
    """Requests under way together share the hour: what they are charged is the time in which there was any."""
    before = [one["id"] for one in gateway.records()]
    with traffic(gateway, "gpu", connections=16):
        until(lambda: len(gateway.records()) > len(before) + 600, "there is traffic")
    until(lambda: gateway.total("graduand_shadow_queue") == 0, "copies have ended")
    mine = [one for one in gateway.records() if one["id"] not in before and one["arm"] == "student"]
    began = min(one["time"] - one["timings"]["total_ms"] / 1000 for one in mine)
    charged = math.fsum(one["cost"] for one in mine)
    assert 0 < charged <= (max(one["time"] for one in mine) - began) * 0.001 * 1.05
    assert charged < math.fsum(one["timings"]["total_ms"] for one in mine) / 1000 * 0.001 / 2  # no request paid alone


def test_the_log_and_the_metrics_agree(gateway: Gateway) -> None:
    def logged() -> float:
        return math.fsum(one["cost"] for one in gateway.records() if one["cost"] is not None)

    until(lambda: spent(gateway) == pytest.approx(logged()), "what is charged is logged")
    records = gateway.records()
    assert gateway.total("graduand_requests_total") == sum(one["role"] == "served" for one in records)
    tokens = sum(one["usage"]["completion_tokens"] for one in records if one["role"] == "served")
    assert gateway.total("graduand_output_tokens_total") == tokens
    errors = [one for one in records if one["role"] == "served" and one["error"] and one["route"] != "unknown"]
    assert gateway.total("graduand_request_errors_total") == len(errors)


def test_prices_follow_a_reload(gateway: Gateway) -> None:
    import signal

    gateway.settings["prices"]["gpt-4o"] = {"input": 100, "output": 100}
    gateway.write_settings()
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: ask(gateway, "teacher")["cost"] == pytest.approx(12 * 100 / 1e6), "the new price is charged")


def test_time_per_token_and_errors_by_cause(gateway: Gateway) -> None:
    ask(gateway, "teacher", stream=True)
    assert gateway.total("graduand_time_per_output_token_seconds_count", "teacher") >= 1
    with Client(gateway.port) as client:
        assert client.ask(b"{").status == 400
    assert gateway.total("graduand_rejected_requests_total", "invalid_json") == 1


@pytest.mark.slow
def test_names_nobody_configured_make_no_series(gateway: Gateway) -> None:
    """100,000 junk model names, and users, leave the page as long as it was."""
    from tests.gateway.driving import Driver

    ask(gateway, "teacher")
    with Client(gateway.port) as client:
        client.ask(chat("junk"))
    before = set(gateway.metrics())
    driver = Driver(gateway)
    junk = (pair for number in range(100_000) for pair in requests_of([f"user-{number}"], f"junk-{number}"))
    driver.run(junk, 8)
    assert len(driver.got) == 100_000
    assert {one.status for one in driver.got} == {404}
    # What the other processes say of the routes may have come in the meantime, a gauge or more of each route.
    new = {one for one in set(gateway.metrics()) - before if not set(one[1]) & gateway.settings["routes"].keys()}
    assert len(new) < 10, new
    assert not [one for one in new if any(word in label for label in one[1] for word in ("junk", "user-"))]
    assert gateway.total("graduand_rejected_requests_total", "model_not_found") == 100_001
