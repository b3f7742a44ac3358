"""Output checks in a real gateway: every check with every action, release mode and form, and what the client, the log and the
metrics see of it."""

import json
import select
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import openai
import pytest

from graduand.monitoring import metrics as m
from tests.gateway.checkcases import ACTIONS, BAD, CASES, LABELS, PROSE, RELEASES, SECRET, Case, says
from tests.gateway.conftest import Start
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import Answer, chat
from tests.gateway.upstream import Action, Conversation, Upstream, chunk, message, text_of

TEACHER, STUDENT = "gpt-4o", "small@3f9c1a0b22de"


@pytest.fixture(scope="module")
def gateway(start: Start, upstream: Upstream) -> Gateway:
    upstreams = {"t": configured(upstream.place("teacher").url)}
    routes: dict[str, Any] = {}
    for name, bad in BAD.items():
        upstreams[name] = configured(upstream.place(name, says(bad.text, bad.finish)).url)
        for action in ACTIONS:
            checks = ["repetition"] * (bad.check == "not_empty") + [
                {bad.check: {**(bad.written or {}), "action": action}}
            ]
            for release in RELEASES:
                routes[f"{name}-{action}-{release}"] = route(
                    "t", name, mode="student", checks=checks, release=release, release_window=5, retries=0,
                    **({"task": LABELS} if bad.check == "label" else {}),
                )  # fmt: skip
    return start(upstreams, routes)


@pytest.fixture(scope="module")
def answers(gateway: Gateway) -> Iterator[dict[Case, "Future[Answer]"]]:
    def ask(case: Case) -> Answer:
        with gateway.client() as client:
            return client.ask(chat(case.name, stream=case.stream))

    with ThreadPoolExecutor(4) as pool:
        yield {case: pool.submit(ask, case) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{'stream' if case.stream else 'whole'}" for case in CASES])
def test_check(case: Case, gateway: Gateway, answers: dict[Case, "Future[Answer]"]) -> None:
    bad, answer = BAD[case.bad], answers[case].result()
    record = gateway.record(answer.headers["x-graduand-id"])
    if case.ends == "student":
        assert answer.text == bad.text
        assert answer.headers["x-graduand-reason"] == "student"
        assert (record["completed"], record["error"], record["fallback_reason"]) == (True, None, None)
    elif case.ends == "teacher":
        assert answer.text == text_of(TEACHER)
        assert answer.headers["x-graduand-arm"] == "teacher"
        assert answer.headers["x-graduand-reason"] == f"fallback:check:{bad.check}"
        assert (record["completed"], record["fallback_reason"]) == (True, f"check:{bad.check}")
        if bad.text.strip():
            assert bad.text[:5] not in answer.body.decode()
    elif case.ends == "refused":
        assert (answer.status, answer.error["code"]) == (400, "content_filter")
        assert f"'{bad.check}'" in answer.error["message"]
        assert (record["completed"], record["error"], record["status"]) == (False, f"check:{bad.check}", 400)
    else:
        assert not answer.whole
        assert answer.events[-1]["error"]["code"] == f"check:{bad.check}"
        assert "[DONE]" not in answer.events
        left = "".join(one["choices"][0]["delta"].get("content") or "" for one in answer.events[:-1])
        assert bad.text.startswith(left)
        assert 0 < len(left) < len(bad.text)
        assert SECRET not in left
        assert (record["completed"], record["error"]) == (False, f"check:{bad.check}")
    if case.stream and case.ends in ("student", "teacher"):
        assert answer.events[-1] == "[DONE]"
    check_verdict(case, gateway, record, answer)


def check_verdict(case: Case, gateway: Gateway, record: dict[str, Any], answer: Answer) -> None:
    """The verdict on the student's answer is logged once, with the answer that it is about."""
    bad, number = BAD[case.bad], record["id"]
    if case.ends in ("teacher", "refused"):
        until(lambda: any(one["parent_id"] == number for one in gateway.records()), "the answer's own record")
    mine = [one for one in gateway.records() if number in (one["id"], one["parent_id"])]
    found = [(one, verdict) for one in mine for verdict in one["verdicts"] if one["arm"] == "student"]
    found = [(one, verdict) for one, verdict in found if verdict["label"] == bad.label]
    [(holder, verdict)] = found
    acted = case.action if case.ends != "student" else "flag"
    assert (verdict["name"], verdict["version"], verdict["action"]) == (bad.check, "1", acted)
    assert verdict["score"] > 0
    assert verdict["latency_ms"] >= 0
    if case.ends in ("teacher", "refused"):
        assert (holder["role"], holder["reason"]) == ("held_back", f"check:{bad.check}")
        assert json.loads(holder["response_json"])["choices"][0]["message"]["content"] == bad.text
    else:
        assert holder["role"] == "served"
    # The flags on the teacher's answer are its own.
    assert all(one["action"] in ("none", "flag") for one in record["verdicts"] if record["arm"] == "teacher")
    before = holder["bytes_released_before_verdict"]
    if case.ends in ("teacher", "refused") or (case.stream and case.release == "block") or not case.stream:
        assert before == 0
    elif case.release == "observe":
        assert before == len(answer.body)
    elif case.ends == "broken":
        assert 0 < before < len(answer.body)


def test_every_verdict_is_counted(gateway: Gateway, answers: dict[Case, "Future[Answer]"]) -> None:
    for future in answers.values():
        future.result()
    until(lambda: sum(one["role"] == "served" for one in gateway.records()) >= len(CASES), "all records")
    verdicts = [(one["arm"], verdict) for one in gateway.records() for verdict in one["verdicts"]]
    assert gateway.total("graduand_check_verdicts_total") == len(verdicts)
    # The first answer is timed, then one in eight; an answer has three verdicts or fewer.
    timed = gateway.total("graduand_check_seconds_count")
    assert len(verdicts) / m.CHECK_TIMED / 3 <= timed <= len(verdicts) / 2
    for action in ACTIONS:
        known = sum(verdict["action"] == action for _, verdict in verdicts)
        assert gateway.total("graduand_check_actions_total", action) == known
    triggered = sum(verdict["label"] == "refusal" for _, verdict in verdicts)
    assert gateway.total("graduand_check_verdicts_total", "student", STUDENT, "refusal", "trigger") == triggered
    assert gateway.total("graduand_fallbacks_total", "check:refusal") == sum(
        one["fallback_reason"] == "check:refusal" for one in gateway.records()
    )


# What is judged, and whose.

CHECKS = ["not_empty", {"secret": "block"}, "refusal", "json"]
REFUSAL = "I'm sorry, but I can't help with that."


def whole(body: Any) -> Action:
    return lambda one: one.whole(200, {**message(one.seen.data["model"]), "choices": body})


def calls(arguments: str) -> Action:
    """Call a tool, and say nothing."""

    def say(one: Conversation) -> None:
        model, call = one.seen.data["model"], {"name": "look_up", "arguments": arguments}
        tools = [{"index": 0, "id": "call_1", "type": "function", "function": call}]
        if not one.streams:
            body = message(model)
            body["choices"][0] |= {"message": {"content": None, "tool_calls": tools}, "finish_reason": "tool_calls"}
            one.whole(200, body)
            return
        one.start_stream()
        one.events([chunk(model, role="assistant", content=None)])
        one.events([chunk(model, tool_calls=[{**tools[0], "function": {**call, "arguments": ""}}])])
        one.events([chunk(model, tool_calls=[{"index": 0, "function": {"arguments": piece}}]) for piece in arguments])
        one.events([chunk(model, finish="tool_calls"), "[DONE]"])
        one.end_stream()

    return say


def completes(text: str) -> Action:
    """Complete a prompt, which is repeated where that is asked for."""

    def say(one: Conversation) -> None:
        asked = one.seen.data
        words = (asked["prompt"] if asked.get("echo") else "") + text
        if one.streams:
            one.start_stream()
            frame = {"id": "1", "object": "text_completion", "created": 1, "model": asked["model"]}
            listed = [
                {"index": 0, "text": words, "finish_reason": None},
                {"index": 0, "text": "", "finish_reason": "stop"},
            ]
            one.events([*({**frame, "choices": [choice]} for choice in listed), "[DONE]"])
            one.end_stream()
        else:
            whole([{"index": 0, "text": words, "finish_reason": "stop"}])(one)

    return say


def choice(index: int, content: Any) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}


@pytest.fixture(scope="module")
def shapes(start: Start, upstream: Upstream) -> Gateway:
    """Routes to one student, whose place gets another script for each test."""
    student = configured(upstream.place("shapes").url, kind="vllm")
    common: dict[str, Any] = {"mode": "student", "checks": CHECKS, "retries": 0}
    routes = {
        **{release: route("t", "s", release=release, **common) for release in RELEASES},
        "alone": route("t", "s", on_student_failure="error", **common),
        "teacher": route("s", "t", checks=CHECKS, release="block", retries=0),
        "shadow": route("t", "s", mode="shadow", checks=["refusal"], retries=0),
        "audit": route("s", "t", mode="student", audit_sample=100, checks=["refusal"], retries=0),
        "label": route("t", "s", mode="student", task=LABELS, retries=0),
        "untasked": route("t", "s", mode="student", retries=0),
        "words": route("t", "s", mode="student", checks=["refusal"], retries=0),
        "broken": route("bad", "s", mode="student", checks=["refusal"], retries=0),
    }
    bad = upstream.place("bad", lambda one: one.whole(500, {}))
    return start({"t": configured(upstream.place("good").url, kind="vllm"), "s": student,
                  "bad": configured(bad.url)}, routes)  # fmt: skip


def reason(answer: Answer) -> str:
    return answer.headers["x-graduand-reason"]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("arguments", "ends"),
    [('{"city": "Ulm"}', "student"), ('{"city": "Ulm', "fallback:check:json"), (f'{{"key": "{SECRET}"}}', "blocked")],
)
def test_calls_of_tools(
    shapes: Gateway, upstream: Upstream, release: str, stream: bool, arguments: str, ends: str
) -> None:
    upstream.places["shapes"].then = calls(arguments)
    with shapes.client() as client:
        answer = client.ask(chat(release, stream=stream))
    if stream and release == "observe":
        assert reason(answer) == "student"
    elif ends == "blocked":
        assert (answer.status, answer.error["code"]) == (400, "content_filter")
        assert SECRET not in answer.body.decode()
    else:
        assert (answer.status, reason(answer)) == (200, ends)


@pytest.mark.parametrize(
    ("choices", "ends"),
    [
        ([choice(0, "{}"), choice(1, "{}")], "student"),
        ([choice(0, "{}"), choice(1, "")], "fallback:check:not_empty"),
        (
            [choice(0, [{"type": "text", "text": REFUSAL[:9]}, {"type": "text", "text": REFUSAL[9:]}])],
            "fallback:check:refusal",
        ),
        ([choice(0, None) | {"message": {"content": None, "refusal": REFUSAL}}], "fallback:check:refusal"),
    ],
)
def test_choices_and_parts(shapes: Gateway, upstream: Upstream, choices: Any, ends: str) -> None:
    upstream.places["shapes"].then = whole(choices)
    with shapes.client() as client:
        assert reason(client.ask(chat("observe", n=2))) == ends


def test_a_stream_of_two_choices_is_held(shapes: Gateway, upstream: Upstream) -> None:
    """Only one text can be watched: with more, a window holds everything."""

    def two(one: Conversation) -> None:
        model = one.seen.data["model"]
        pieces = [chunk(model, content=" " * 100)] * 40
        one.start_stream()
        one.events([*pieces, chunk(model, content="{}"), chunk(model, finish="stop")])
        second = chunk(model, content=REFUSAL)
        second["choices"][0] |= {"index": 1, "finish_reason": "stop"}
        one.events([second, "[DONE]"])
        one.end_stream()

    upstream.places["shapes"].then = two
    with shapes.client() as client:
        answer = client.ask(chat("window", n=2, stream=True))
    assert reason(answer) == "fallback:check:refusal"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("echo", [False, True])
def test_completions(shapes: Gateway, upstream: Upstream, stream: bool, echo: bool) -> None:
    for text, ends in ((' {"a": 1}', "student"), (REFUSAL, "fallback:check:refusal")):
        upstream.places["shapes"].then = completes(text)
        upstream.places["good"].then = completes("{}")
        body = {"model": "window", "prompt": "Is it in JSON?", "stream": stream, "echo": echo}
        with shapes.client() as client:
            answer = client.ask(body, "/v1/completions")
        assert (answer.status, reason(answer)) == (200, ends)


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_lorax(shapes: Gateway, upstream: Upstream, path: str) -> None:
    upstream.places["good"].then = completes("{}")
    for text, ends in (('{"a": 1}', "student"), (REFUSAL, "fallback:check:refusal"), (f"the key: {SECRET}", "student")):
        upstream.places["shapes"].then = completes(text)
        with shapes.client() as client:
            answer = client.ask({"inputs": "hello", "parameters": {"adapter_id": "block"}}, path)
        assert reason(answer) == ends
        if SECRET in text:
            assert (answer.status, answer.data["error_type"]) == (400, "validation")
            assert "secret" in answer.data["error"]
        else:
            assert (text if ends == "student" else "{}") in json.dumps(answer.body.decode()).replace("\\", "")


def test_embeddings_are_not_judged(shapes: Gateway, upstream: Upstream) -> None:
    data = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "x", "usage": {"prompt_tokens": 1}}
    upstream.places["shapes"].then = lambda one: one.whole(200, data)
    with shapes.client() as client:
        answer = client.ask({"model": "block", "input": "hello"}, "/v1/embeddings")
    assert (answer.status, reason(answer)) == (200, "student")
    assert shapes.record(answer.headers["x-graduand-id"])["verdicts"] == []


@pytest.mark.parametrize("stream", [False, True])
def test_the_teacher_is_only_flagged(shapes: Gateway, upstream: Upstream, stream: bool) -> None:
    upstream.places["shapes"].then = says(f"{REFUSAL} {SECRET}")
    with shapes.client() as client:
        answer = client.ask(chat("teacher", stream=stream))
    assert answer.text == f"{REFUSAL} {SECRET}"
    number = answer.headers["x-graduand-id"]
    verdicts = {one["name"]: one["action"] for one in shapes.record(number)["verdicts"]}
    assert verdicts == {"not_empty": "none", "secret": "flag", "refusal": "flag", "json": "flag"}
    assert shapes.total("graduand_check_actions_total", "teacher", "secret", "flag") >= 1
    assert shapes.total("graduand_check_actions_total", "teacher", "secret", "block") == 0


@pytest.mark.parametrize(("name", "role", "arm"), [("shadow", "shadow", "student"), ("audit", "audit", "teacher")])
@pytest.mark.parametrize("stream", [False, True])
def test_copies_are_judged(shapes: Gateway, upstream: Upstream, name: str, role: str, arm: str, stream: bool) -> None:
    upstream.places["shapes"].then = says(REFUSAL)
    upstream.places["good"].then = says("fine")
    with shapes.client() as client:
        answer = client.ask(chat(name, stream=stream))
    assert answer.text == "fine"
    number = answer.headers["x-graduand-id"]
    until(lambda: any(one["parent_id"] == number for one in shapes.records()), "the copy's record")
    [copy] = [one for one in shapes.records() if one["parent_id"] == number]
    assert (copy["role"], copy["arm"]) == (role, arm)
    assert [(one["name"], one["action"]) for one in copy["verdicts"]] == [("refusal", "flag")]
    assert [one["action"] for one in shapes.record(number)["verdicts"]] == ["none"]


def test_without_a_fallback_it_is_an_error(shapes: Gateway, upstream: Upstream) -> None:
    upstream.places["shapes"].then = says(REFUSAL)
    with shapes.client() as client:
        answer = client.ask(chat("alone"))
        assert (answer.status, answer.error["code"], answer.error["type"]) == (502, "check:refusal", "server_error")
        both = client.ask(chat("broken"))
    assert (both.status, both.headers["x-graduand-reason"]) == (500, "fallback:check:refusal")
    record = shapes.record(answer.headers["x-graduand-id"])
    assert (record["error"], record["completed"], record["verdicts"]) == ("check:refusal", False, [])


def test_a_task_brings_its_checks(shapes: Gateway, upstream: Upstream) -> None:
    upstream.places["good"].then = says("shipping")
    with shapes.client() as client:
        for text, finish, ends in (
            ("Billing.", "stop", "student"), ("billing", "length", "student"), ("both", "stop", "fallback:check:label"),
        ):  # fmt: skip
            upstream.places["shapes"].then = says(text, finish)
            assert reason(client.ask(chat("label"))) == ends
        untasked = client.ask(chat("untasked"))
    assert reason(untasked) == "student"
    assert shapes.record(untasked.headers["x-graduand-id"])["verdicts"] == []
    shown = {one["name"]: one["checks"] for one in shapes.admin.get("/v1/routes").json()["routes"]}
    assert shown["label"] == {"not_empty": "fallback", "truncated": "flag", "label": "fallback"}


def test_no_byte_leaves_a_block_before_its_verdict(shapes: Gateway, upstream: Upstream) -> None:
    half_sent, go_on = threading.Event(), threading.Event()

    def slowly(one: Conversation) -> None:
        model = one.seen.data["model"]
        one.start_stream()
        one.events([chunk(model, content='{"a": '), *[chunk(model, content=" ")] * 500])
        one.taken()
        half_sent.set()
        go_on.wait(60)
        one.events([chunk(model, content="1}"), chunk(model, finish="stop"), "[DONE]"])
        one.end_stream()

    upstream.places["shapes"].then = slowly
    with shapes.client() as client:
        client.post(chat("block", stream=True))
        assert half_sent.wait(60)
        nothing = select.select([client.socket], [], [], 0.3)[0] == []
        go_on.set()
        answer = client.read()
    assert nothing
    assert json.loads(answer.text) == {"a": 1}
    assert shapes.record(answer.headers["x-graduand-id"])["bytes_released_before_verdict"] == 0


@pytest.mark.parametrize("text", [REFUSAL, f"你好 🎓 {SECRET} é", '{"ü": 1}', PROSE])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_any_chunking_has_the_verdicts_of_the_whole(shapes: Gateway, upstream: Upstream, text: str, size: int) -> None:
    def in_chunks(one: Conversation) -> None:
        """The same events, however the bytes are cut: also inside UTF-8 characters and inside the key."""
        model = one.seen.data["model"]
        listed = [chunk(model, content=text[at : at + 3]) for at in range(0, len(text), 3)]
        bodies = [json.dumps(event, ensure_ascii=False) for event in (*listed, chunk(model, finish="stop"))]
        raw = "".join(f"data: {body}\n\n" for body in (*bodies, "[DONE]")).encode()
        one.start_stream()
        for at in range(0, len(raw), size):
            one.piece(raw[at : at + size])
        one.end_stream()

    verdicts = []
    for action, stream in ((says(text), False), (in_chunks, True)):
        upstream.places["shapes"].then = action
        with shapes.client() as client:
            number = client.ask(chat("block", stream=stream)).headers["x-graduand-id"]
        shapes.record(number)
        mine = [one for one in shapes.records() if number in (one["id"], one["parent_id"]) and one["arm"] == "student"]
        judged = [one for record in mine for one in record["verdicts"]]
        verdicts.append([(one["name"], one["label"], one["score"], one["action"]) for one in judged])
    assert verdicts[0] == verdicts[1]
    assert len(verdicts[0]) == len(CHECKS)


def test_a_long_answer_is_judged_whole(shapes: Gateway, upstream: Upstream) -> None:
    upstream.places["good"].then = says("{}")
    for place in (0, 70_000, 300_000):
        text = PROSE * (place // len(PROSE)) + SECRET + PROSE * 1000
        upstream.places["shapes"].then = says(text)
        with shapes.client() as client:
            assert client.ask(chat("block")).error["code"] == "content_filter"
        upstream.places["shapes"].then = says(f"{REFUSAL} {PROSE * 1000}")
    with shapes.client() as client:
        answer = client.ask(chat("words"))
    assert reason(answer) == "fallback:check:refusal"


def test_a_client_that_leaves_while_its_answer_is_held(shapes: Gateway, upstream: Upstream) -> None:
    place = upstream.places["shapes"]

    def endless(one: Conversation) -> None:
        one.start_stream()
        one.events([chunk(one.seen.data["model"], content="words ")] * 50)
        one.wait_for_close()

    place.then = endless
    place.forget()
    with shapes.client() as client:
        client.post(chat("block", stream=True, user="leaver"))
        until(lambda: place.asked, "it is asked")
    until(lambda: place.seen[0].closed_at, "the upstream is let go")
    until(lambda: any('"leaver"' in (one["request_json"] or "") for one in shapes.records()), "the record")
    [record] = [one for one in shapes.records() if '"leaver"' in (one["request_json"] or "")]
    assert (record["client_disconnected"], record["bytes_released_before_verdict"], record["verdicts"]) == (True, 0, [])


# Through the real client.


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url, api_key="x", max_retries=2, timeout=60) as client:
        yield client


USER: Any = [{"role": "user", "content": "hello"}]


def test_openai_client_is_blocked(client: openai.OpenAI, upstream: Upstream) -> None:
    """A blocked answer is no reason to ask again: the client raises at once."""
    for stream in (False, True):
        before = upstream.places["secret"].asked
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="secret-block-block", messages=USER, stream=stream)
        assert caught.value.code == "content_filter"
        assert upstream.places["secret"].asked == before + 1


def test_openai_client_sees_a_fallback_as_any_answer(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(model="secret-fallback-window", messages=USER, stream=True)
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == text_of(TEACHER)


def test_openai_client_hears_of_a_break(client: openai.OpenAI) -> None:
    text = ""
    with pytest.raises(openai.APIError, match="secret") as caught:
        for one in client.chat.completions.create(model="secret-late-block-window", messages=USER, stream=True):
            text += one.choices[0].delta.content or ""
    assert caught.value.code == "check:secret"
    assert text
    assert BAD["secret-late"].text.startswith(text)
    assert SECRET[:4] not in text
