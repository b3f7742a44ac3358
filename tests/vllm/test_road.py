"""The whole road with a real vLLM, in the order in which it is walked: each test goes on where the one before it stopped.

vLLM runs on a processor here, so nothing is timed but what is printed; its wire is what it is on a GPU.
"""

import json
import time
from pathlib import Path

import httpx
import openai
import pytest

from graduand.gateway.adapters import residency
from graduand.gateway.errors import AdapterError
from graduand.monitoring import engines
from graduand.monitoring.engines import EngineReading
from graduand.training.admission.serving import engine_at
from tests.e2e import students
from tests.e2e.students import QUEUES, TEACHER
from tests.gateway.running import until
from tests.gateway.speaking import Client
from tests.vllm.conftest import CLIENT_S, NOBODY, SHORT, Road, Say, as_json, tickets
from tests.vllm.server import BASE, CONTEXT, SLOTS

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(3600)]

[TICKET, *_] = tickets(1)


def reading(road: Road) -> EngineReading:
    return engines.read(road.vllm.metrics())


def gauge(road: Road, name: str, *labels: str) -> float:
    return road.gateway.total(f"graduand_{name}", *labels)


# Loading and proof.


def test_an_adapter_that_was_not_admitted_is_refused(road: Road, say: Say) -> None:
    say(f"vLLM {road.vllm.version()} was ready after {road.ready_s:.0f} s")
    done = road.place()
    assert (done.returncode, "train admit" in done.stderr) == (1, True), done.stderr
    assert set(residency.listed(*_where(road))) == {BASE}


def test_it_is_admitted_by_what_vllm_makes_of_it(road: Road, say: Say) -> None:
    began = time.monotonic()
    done = road.graduand(
        "train", "admit", "--adapter", str(road.path), "--engine", road.vllm.url, "--data", str(road.rows),
        "--probes", "3", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    checks = as_json(done)["checks"]
    assert all(check["passed"] for check in checks)
    say(f"admitted within {time.monotonic() - began:.0f} s: {'; '.join(check['detail'] for check in checks[-3:])}")
    assert set(residency.listed(*_where(road))) == {BASE}  # as it was found


def test_it_is_loaded_and_verified(road: Road, say: Say) -> None:
    done = road.place()
    assert done.returncode == 0, done.stderr
    say(done.stdout.strip())
    assert residency.listed(*_where(road))[road.adapter]["parent"] == BASE
    assert road.graduand("adapters", "verify", road.adapter).returncode == 0
    listed = as_json(road.graduand("adapters", "list", "--json"))["adapters"]
    assert [(one["name"], one["upstream"]) for one in listed] == [(road.adapter, "gpu")]


def test_loading_it_again_is_no_error(road: Road) -> None:
    residency.load(_where(road)[0], road.adapter, road.path)


def test_a_folder_that_vllm_does_not_see_is_called_that(road: Road) -> None:
    with pytest.raises(AdapterError, match="No adapter found"):
        residency.load(_where(road)[0], NOBODY, Path("/nowhere"))


def _where(road: Road) -> tuple[residency.Upstream, residency.Replica]:
    engine = engine_at(road.vllm.url)
    return engine.upstream, engine.replica


# Answers.


def test_the_student_answers_as_it_was_taught(road: Road, say: Say) -> None:
    asked, right = tickets(10), 0
    for text, queue in asked:
        answer = road.ask("students", text)
        assert (answer.status, answer.data["model"]) == (200, road.adapter)
        assert (answer.headers["x-graduand-arm"], answer.headers["x-graduand-reason"]) == ("student", "student")
        right += answer.text == queue
    say(f"the student agrees with the teacher on {right} of {len(asked)} tickets")
    assert right >= 8


def test_answers_are_vllms_own(road: Road) -> None:
    with road.openai() as ours, road.openai(road.vllm.url) as theirs:
        kept = {"messages": students.asked(TICKET[0]), "logprobs": True, "top_logprobs": 2, **SHORT}
        through = ours.chat.completions.create(model="students", **kept)
        direct = theirs.chat.completions.create(model=road.adapter, **kept)
    assert through.choices[0].message == direct.choices[0].message
    assert through.usage == direct.usage
    pairs = zip(through.choices[0].logprobs.content, direct.choices[0].logprobs.content, strict=True)
    for one, other in pairs:
        assert one.token == other.token
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert len(one.top_logprobs) == 2


def test_a_stream_says_the_same(road: Road) -> None:
    whole = road.ask("students", TICKET[0])
    with (
        road.openai() as client,
        client.chat.completions.stream(
            model="students", messages=students.asked(TICKET[0]), stream_options={"include_usage": True}, **SHORT
        ) as stream,
    ):
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(pieces) == final.choices[0].message.content == whole.text
    assert (final.model, final.choices[0].finish_reason) == (road.adapter, "stop")
    assert final.usage.model_dump(exclude_none=True) == {
        name: count for name, count in whole.data["usage"].items() if count is not None
    }
    plain = road.ask("students", TICKET[0], stream=True)
    assert plain.events[-1] == "[DONE]"
    assert not any(isinstance(one, dict) and one.get("usage") for one in plain.events)  # nobody asked for it


def test_raw_completions_and_models(road: Road) -> None:
    with road.openai() as client:
        made = client.completions.create(model="students", prompt="Ticket: I was charged twice\nQueue:", max_tokens=4)
        assert (made.model, made.usage.completion_tokens <= 4) == (road.adapter, True)
        assert "students" in {model.id for model in client.models.list()}


# What goes wrong.


def test_a_model_that_nobody_has_is_404(road: Road) -> None:
    with road.openai() as client, pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="student", messages=students.asked(TICKET[0]))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "students" in caught.value.body["message"]


def test_an_adapter_that_vllm_has_not_falls_back(road: Road) -> None:
    text, queue = TICKET
    answer = road.ask("lost", text)
    assert (answer.status, answer.text, answer.data["model"]) == (200, queue, TEACHER)
    assert answer.headers["x-graduand-reason"] in ("fallback:model_missing", "fallback:not_loaded")
    refused = road.ask("only-lost", text)
    assert (refused.status, refused.error["code"]) in ((502, "model_missing"), (503, "not_loaded"))


def test_a_prompt_that_is_too_long_is_the_clients_or_the_teachers(road: Road) -> None:
    refused = road.ask("students", "again " * (2 * CONTEXT))
    assert (refused.status, "context length" in refused.error["message"]) == (400, True), refused.body
    assert road.gateway.record(refused.headers["x-graduand-id"])["attempts"][-1]["outcome"] == "context_length"


def test_when_the_client_leaves_vllm_stops(road: Road, say: Say) -> None:
    before = reading(road).tokens
    with Client(road.gateway.port, timeout_s=CLIENT_S) as client:
        body = {"model": "students", "messages": students.asked(TICKET[0]), "max_tokens": 400, "min_tokens": 400,
                "temperature": 0, "stream": True}  # fmt: skip
        client.post(body)
        client.socket.recv(1)
        until(lambda: reading(road).busy_adapters == {road.adapter}, "vLLM says which adapter is busy")
        assert reading(road).running == 1
    until(lambda: reading(road).running == 0, "vLLM has stopped generating")
    made = reading(road).tokens - before
    say(f"the client left: vLLM had generated {made:.0f} of 400 tokens")
    assert made < 390


# What it says of itself.


def test_its_metrics_are_understood(road: Road) -> None:
    now = reading(road)
    assert (now.running, now.waiting, now.busy_adapters, now.adapter_slots) == (0, 0, set(), SLOTS)
    assert now.cache_usage is not None
    assert now.tokens > 10
    assert sum(now.first_token.counts) > 5
    assert sum(now.per_token.counts) > 10
    assert now.first_token.total_s > 0


def test_the_gateway_shows_them(road: Road) -> None:
    until(lambda: gauge(road, "adapter_resident", "gpu", road.adapter) == 1, "the adapter is seen")
    assert (gauge(road, "engine_up", "gpu"), gauge(road, "engine_adapter_slots", "gpu")) == (1, SLOTS)
    assert gauge(road, "adapter_wanted", "gpu", road.adapter) == 1
    assert gauge(road, "adapter_resident", "gpu", NOBODY) == 0
    page = road.gateway.admin.get("/metrics").text
    assert "running_lora_adapters" not in page


# Traffic moves.


def test_in_the_shadow_the_teacher_answers_and_vllm_is_compared(road: Road, say: Say) -> None:
    assert road.graduand("routes", "set", "tickets", "--mode", "shadow").returncode == 0
    _in_force(road, "shadow")
    asked = tickets(6)
    for text, queue in asked:
        answer = road.ask("tickets", text)
        assert (answer.headers["x-graduand-arm"], answer.text) == ("teacher", queue)
    until(lambda: len(road.records("tickets", "shadow")) == len(asked), "every copy is answered")
    served = {one["id"]: one for one in road.records("tickets", "served")}
    pairs = [(served[copy["parent_id"]], copy) for copy in road.records("tickets", "shadow")]
    assert {copy["served_model"] for _, copy in pairs} == {road.adapter}
    same = sum(_said(one) == _said(copy) for one, copy in pairs)
    say(f"shadow: {same} of {len(pairs)} pairs agree")
    assert same >= len(pairs) - 1


def _said(record: students.Json) -> str:
    return str(json.loads(record["response_json"])["choices"][0]["message"]["content"])


def _in_force(road: Road, mode: str) -> None:
    version = next(one for one in road.gateway.admin.get("/v1/routes").json()["routes"] if one["name"] == "tickets")
    assert version["mode"] == mode
    road.gateway.settled()


def test_a_canary_splits_by_user_and_sticks(road: Road) -> None:
    done = road.graduand("routes", "set", "tickets", "--mode", "canary", "--weight", "50")
    assert done.returncode == 0, done.stderr
    _in_force(road, "canary")
    users = [f"user-{number}" for number in range(10)]
    arms = {user: _arm(road, user) for user in users}
    assert set(arms.values()) == {"teacher", "student"}
    assert {user: _arm(road, user) for user in users[:5]} == dict(list(arms.items())[:5])


def _arm(road: Road, user: str) -> str:
    answer = road.ask("tickets", TICKET[0], user)
    arm = answer.headers["x-graduand-arm"]
    assert answer.status == 200
    assert answer.data["model"] == (road.adapter if arm == "student" else TEACHER)
    assert answer.text in QUEUES
    return arm


# vLLM ends and comes back.


def test_when_vllm_is_stopped_nobody_notices(road: Road, say: Say) -> None:
    assert road.graduand("routes", "set", "tickets", "--mode", "student").returncode == 0
    _in_force(road, "student")
    road.vllm.kill()
    waited = []
    for text, queue in tickets(8):
        began = time.monotonic()
        answer = road.ask("tickets", text)
        waited.append(time.monotonic() - began)
        assert (answer.status, answer.text, answer.data["model"]) == (200, queue, TEACHER)
        assert answer.headers["x-graduand-reason"].startswith("fallback:")
    say(
        f"stopped: {len(waited)} of {len(waited)} answered by the teacher, the slowest after {max(waited) * 1000:.0f} ms"
    )
    refused = road.ask("students", TICKET[0])
    assert refused.status in (502, 503)
    until(lambda: gauge(road, "engine_up", "gpu") == 0, "the gateway's metrics say that it is down")


def test_after_a_restart_the_adapter_comes_back(road: Road, say: Say) -> None:
    """vLLM keeps loaded adapters in memory only; until the fleet manager has loaded this one again, the teacher answers."""
    say(f"restarted within {road.vllm.start():.0f} s")
    text, queue = TICKET
    reasons: list[str] = []

    def back() -> bool:
        answer = road.ask("tickets", text)
        assert (answer.status, answer.text) == (200, queue)
        reasons.append(answer.headers["x-graduand-reason"])
        return answer.headers["x-graduand-arm"] == "student"

    until(back, "the student is asked again", 600)
    assert all(reason.startswith("fallback:") for reason in reasons[:-1])
    until(lambda: gauge(road, "adapter_resident", "gpu", road.adapter) == 1, "the adapter is seen")


def test_an_adapter_in_use_cannot_be_removed_and_one_out_of_use_can(road: Road) -> None:
    assert "set its mode to teacher first" in road.graduand("adapters", "remove", road.adapter).stderr
    for route in ("tickets", "students"):
        assert road.graduand("routes", "set", route, "--mode", "teacher").returncode == 0
    assert road.graduand("adapters", "remove", road.adapter).returncode == 0
    until(lambda: set(residency.listed(*_where(road))) == {BASE}, "vLLM has it no more", 600)
    gone = httpx.post(
        f"{road.vllm.url}/completions", json={"model": road.adapter, "prompt": "x"}, timeout=60, trust_env=False
    )
    assert gone.status_code == 404


def test_how_fast_it_was(road: Road, say: Say) -> None:
    residency.load(_where(road)[0], road.adapter, road.path)
    road.vllm.tokens_a_second(road.adapter, 4)  # what vLLM does once
    base, adapted = (road.vllm.tokens_a_second(model) for model in (BASE, road.adapter))
    say(f"one request alone: {base:.1f} tokens/s with the base, {adapted:.1f} with the adapter, on one thread")
    assert base > 0
