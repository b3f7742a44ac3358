"""The running server through OpenAI's own client and, where the bytes matter, through httpx."""

import asyncio
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from graduand.gateway.engine.engine import Engine

RED, BLUE, BASE = "red@0123456789ab", "blue", "smollm2-135m"
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
POEM = [{"role": "user", "content": "Write a long poem about the sea."}]


def chat(client: openai.OpenAI, **options: Any) -> Any:
    options = {"model": BASE, "messages": FRANCE, "temperature": 0, "max_tokens": 12} | options
    return client.chat.completions.create(**options)


def series(address: str, name: str) -> float:
    lines = httpx.get(f"{address}/metrics", timeout=60).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))


def events(address: str, path: str, body: dict[str, Any]) -> list[Any]:
    """The decoded events of a stream, `[DONE]` left as it is."""
    text = httpx.post(f"{address}{path}", json=body, timeout=60).text
    assert text.endswith("\n\n")
    data = [part.removeprefix("data: ") for part in text.removesuffix("\n\n").split("\n\n")]
    return [part if part == "[DONE]" else json.loads(part) for part in data]


def test_answers_a_question(client: openai.OpenAI) -> None:
    answer = chat(client)
    assert answer.choices[0].message.content == "The capital of France is Paris."
    assert (answer.choices[0].finish_reason, answer.model, answer.object) == ("stop", BASE, "chat.completion")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (37, 8, 45)


@pytest.mark.parametrize("adapter", [RED, BLUE])
def test_each_adapter_answers_as_transformers_does(
    client: openai.OpenAI, engine: Engine, reference: Any, adapter: str
) -> None:
    answer = chat(client, model=adapter)
    expected = reference.answer(asyncio.run(engine.chat_prompt(FRANCE)), adapter, 12)
    assert answer.choices[0].message.content == reference.tokenizer.decode(expected, skip_special_tokens=True)
    assert answer.model == adapter


def test_lists_base_and_adapters(client: openai.OpenAI, adapters: dict[str, Path]) -> None:
    models = {model.id: model for model in client.models.list()}
    assert set(models) == {BASE, *adapters}
    for name, folder in adapters.items():
        assert (models[name].parent, models[name].root) == (BASE, str(folder))
    assert models[BASE].parent is None


def test_a_stream_has_the_parts_of_the_whole(address: str) -> None:
    body = {"model": RED, "messages": FRANCE, "temperature": 0, "max_tokens": 8}
    whole = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).json()
    stream = body | {"stream": True, "stream_options": {"include_usage": True}}
    first, *middle, last, done = events(address, "/v1/chat/completions", stream)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in middle)
    assert text == whole["choices"][0]["message"]["content"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in middle[:-1]] == [None] * (len(middle) - 1)
    assert middle[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert done == "[DONE]"
    assert {chunk["id"] for chunk in (first, *middle, last)} == {first["id"]}
    assert {chunk["object"] for chunk in (first, *middle, last)} == {"chat.completion.chunk"}
    assert all("usage" not in chunk for chunk in (first, *middle))


def test_without_include_usage_no_chunk_has_any(address: str) -> None:
    body = {"messages": FRANCE, "stream": True, "max_tokens": 2, "temperature": 0}
    *chunks, done = events(address, "/v1/chat/completions", body)
    assert done == "[DONE]"
    assert all(chunk["choices"] and "usage" not in chunk for chunk in chunks)


def test_several_choices_whole_and_streamed(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"n": 3, "temperature": 1.2, "seed": 5, "max_tokens": 6, "model": RED}
    whole = chat(client, **options)
    texts = {choice.index: choice.message.content for choice in whole.choices}
    assert sorted(texts) == [0, 1, 2]
    assert len(set(texts.values())) == 3
    assert (whole.usage.completion_tokens, whole.usage.prompt_tokens) == (18, 37)
    streamed = {0: "", 1: "", 2: ""}
    for chunk in chat(client, **options, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts
    assert chunk.usage.completion_tokens == 18


def test_a_seed_gives_the_same_tokens_in_any_company(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"temperature": 1.0, "top_p": 0.95, "seed": 11, "max_tokens": 10, "messages": POEM}
    alone = chat(client, **options).choices[0].message.content
    found: list[str] = []
    others = [threading.Thread(target=chat, args=(client,), kwargs={"model": m, "max_tokens": 15}) for m in (RED, BLUE)]
    same = threading.Thread(target=lambda: found.append(chat(client, **options).choices[0].message.content))
    for thread in (*others, same):
        thread.start()
    for thread in (*others, same):
        thread.join()
    assert found == [alone]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stop", [" of", ["nothing like it", "l of F"]])
def test_stops_before_the_stop_string(address: str, stop: Any, stream: bool) -> None:
    body = {"messages": FRANCE, "temperature": 0, "max_tokens": 12, "stop": stop, "stream": stream}
    if stream:
        *chunks, _ = events(address, "/v1/chat/completions", body)
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        choice = chunks[-1]["choices"][0]
    else:
        choice = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]
        text = choice["message"]["content"]
    assert "The capital of France is Paris.".startswith(text)
    assert text in ("The capital", "The capita")
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop if stop == " of" else "l of F")


def test_chat_logprobs(client: openai.OpenAI) -> None:
    content = chat(client, logprobs=True, top_logprobs=3, max_tokens=4).choices[0].logprobs.content
    assert [entry.token for entry in content] == ["The", " capital", " of", " France"]
    for entry in content:
        assert bytes(entry.bytes).decode() == entry.token
        assert [top.logprob for top in entry.top_logprobs] == sorted(
            (t.logprob for t in entry.top_logprobs), reverse=True
        )
        assert (entry.top_logprobs[0].token, len(entry.top_logprobs)) == (entry.token, 3)
        assert entry.logprob <= 0
    streamed = [
        entry.logprob
        for chunk in chat(client, logprobs=True, max_tokens=4, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content
    ]
    assert streamed == pytest.approx([entry.logprob for entry in content], abs=1e-4)


def test_text_completions(client: openai.OpenAI, engine: Engine) -> None:
    prompts = ["The capital of France is", "One, two, three,"]
    options: dict[str, Any] = {"model": BASE, "temperature": 0, "max_tokens": 4, "logprobs": 2}
    answer = client.completions.create(prompt=prompts, **options)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[1].text.startswith(" four, five")
    for choice in answer.choices:
        logprobs = choice.logprobs
        assert "".join(logprobs.tokens) == choice.text
        assert logprobs.text_offset == [len("".join(logprobs.tokens[:i])) for i in range(4)]
        assert all(2 <= len(top) <= 3 for top in logprobs.top_logprobs)
    tokens = [asyncio.run(engine.tokens(prompt)) for prompt in prompts]
    assert client.completions.create(prompt=tokens, **options).choices[0].text == answer.choices[0].text
    assert answer.usage.completion_tokens == 8
    assert answer.usage.prompt_tokens == sum(len(prompt) for prompt in tokens)


def test_text_completions_stream_and_echo(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": BLUE, "prompt": "One, two,", "temperature": 0, "max_tokens": 4, "echo": True}
    whole = client.completions.create(**options).choices[0].text
    assert whole.startswith("One, two,")
    chunks = list(client.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 4)


def test_a_short_request_is_not_held_up_by_a_long_one(address: str, client: openai.OpenAI, until: Any) -> None:
    """The long one still runs when the short ones have ended: in one of a few tries, for this thread may stand still."""

    def goes_on() -> bool:
        until(lambda: series(address, "vllm:num_requests_running") == 0)
        stream = chat(client, messages=POEM, max_tokens=400, stream=True, model=RED, extra_body={"ignore_eos": True})
        next(iter(stream))
        for name in (BASE, BLUE):
            chat(client, model=name, max_tokens=3)
        running = series(address, "vllm:num_requests_running")
        stream.close()
        return running == 1

    assert any(goes_on() for _ in range(5))


@pytest.mark.parametrize("stream", [False, True])
def test_closing_the_connection_stops_the_generation(address: str, until: Any, stream: bool) -> None:
    until(lambda: series(address, "vllm:num_requests_running") == 0)
    body = json.dumps({"messages": POEM, "max_tokens": 500, "ignore_eos": True, "stream": stream}).encode()
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        until(lambda: series(address, "vllm:num_requests_running") == 1)
        if stream:
            connection.recv(100)
    until(lambda: series(address, "vllm:num_requests_running") == 0)
    generated = series(address, "vllm:generation_tokens_total")
    time.sleep(0.3)
    assert series(address, "vllm:generation_tokens_total") == generated


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind", "part"),
    [
        ("POST", "/v1/chat/completions", b"{nope", 400, "Bad Request", "json_invalid"),
        ("POST", "/v1/chat/completions", b"{}", 400, "Bad Request", "Field required"),
        ("POST", "/v1/chat/completions", {"messages": []}, 400, "BadRequestError", "at least one"),
        (
            "POST",
            "/v1/chat/completions",
            {"messages": FRANCE, "model": "gone"},
            404,
            "NotFoundError",
            "`gone` does not",
        ),
        ("POST", "/v1/completions", {"prompt": "word " * 700}, 400, "BadRequestError", "maximum context length is 600"),
        ("POST", "/v1/completions", {"prompt": "w" * 900_000}, 400, "BadRequestError", "maximum context length is 600"),
        ("POST", "/v1/completions", {"prompt": [10**9]}, 400, "BadRequestError", "out of vocabulary"),
        ("POST", "/v1/nothing", {}, 404, "Not Found", "Not Found"),
        ("GET", "/v1/chat/completions", None, 405, "Method Not Allowed", "Method Not Allowed"),
        ("POST", "/v1/load_lora_adapter", {"lora_name": "x"}, 400, "Bad Request", "lora_path"),
        ("POST", "/v1/load_lora_adapter", {"lora_name": "", "lora_path": "x"}, 400, "InvalidUserInput", "provided"),
        ("POST", "/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "/no"}, 404, "NotFoundError", "No adapter"),
        ("POST", "/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "."}, 400, "BadRequestError", "missing"),
        ("POST", "/v1/load_lora_adapter", {"lora_name": BASE, "lora_path": "."}, 400, "InvalidUserInput", "conflicts"),
        ("POST", "/v1/unload_lora_adapter", {"lora_name": "x"}, 404, "NotFoundError", "cannot be found"),
    ],
)
def test_errors_have_the_shape_of_openai(
    address: str, method: str, path: str, body: Any, status: int, kind: str, part: str
) -> None:
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    response = httpx.request(method, address + path, content=content, timeout=60)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (status, kind, status)
    assert part in error["message"]
    assert httpx.get(f"{address}/health", timeout=60).status_code == 200


def test_adapters_come_and_go(address: str, client: openai.OpenAI, adapters: dict[str, Path]) -> None:
    def post(path: str, **body: Any) -> httpx.Response:
        return httpx.post(f"{address}/v1/{path}", json=body, timeout=60)

    late = {"lora_name": "late", "lora_path": str(adapters[BLUE])}
    loaded = post("load_lora_adapter", **late)
    assert (loaded.status_code, loaded.text) == (200, "Success: LoRA adapter 'late' added successfully.")
    assert chat(client, model="late").choices[0].message == chat(client, model=BLUE).choices[0].message
    again = post("load_lora_adapter", **late)
    assert (again.status_code, again.json()["error"]["type"]) == (400, "InvalidUserInput")
    assert (
        post("load_lora_adapter", **late | {"lora_path": str(adapters[RED]), "load_inplace": True}).status_code == 200
    )
    assert chat(client, model="late").choices[0].message == chat(client, model=RED).choices[0].message
    unloaded = post("unload_lora_adapter", lora_name="late")
    assert (unloaded.status_code, unloaded.text) == (200, "Success: LoRA adapter 'late' removed successfully.")
    with pytest.raises(openai.NotFoundError):
        chat(client, model="late")


def test_a_running_request_keeps_its_adapter(address: str, client: openai.OpenAI, adapters: dict[str, Path]) -> None:
    body = {"lora_name": "brief", "lora_path": str(adapters[RED])}
    assert httpx.post(f"{address}/v1/load_lora_adapter", json=body, timeout=60).status_code == 200
    stream = iter(chat(client, model="brief", stream=True))
    text = next(stream).choices[0].delta.content
    assert httpx.post(f"{address}/v1/unload_lora_adapter", json={"lora_name": "brief"}, timeout=60).status_code == 200
    text += "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == chat(client, model=RED).choices[0].message.content


def test_metrics_have_the_names_of_vllm(address: str) -> None:
    text = httpx.get(f"{address}/metrics", timeout=60).text
    for name in ("num_requests_running", "num_requests_waiting", "generation_tokens_total", "lora_requests_info"):
        assert f"\nvllm:{name}{{" in text
