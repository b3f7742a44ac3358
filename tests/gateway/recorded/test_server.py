"""The recorded teacher, as its users meet it: the real command, asked by the real openai client and by raw HTTP."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from graduand.gateway.errors import ConfigError
from graduand.gateway.recorded.recordings import count_tokens, parse, pieces

CHAT = [{"role": "system", "content": "Route."}, {"role": "user", "content": "My card was charged twice"}]
RECORDS = [
    {"messages": CHAT, "answer": "billing"},
    {"text": "Capital of France?", "answer": "It is Paris — naïve, isn't it?\n"},
    {"text": "Capital of France?", "answer": "Paris, of course.", "model": "gpt-4o"},
    {"text": "twice", "answer": "first"},
    {"text": "twice", "answer": "second"},
    {"text": "same", "answer": "a"},
    {"text": "same", "answer": "a"},
]


def start(path: Path, *more: str) -> subprocess.Popen[str]:
    arguments = ["recorded-teacher", "--answers", str(path), "--listen", "127.0.0.1:0", *more]
    command = [sys.executable, "-m", "graduand", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "answers.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in RECORDS) + "\n\n")
    return path


@pytest.fixture(scope="module")
def announced(records: Path) -> Iterator[str]:
    process = start(records)
    assert process.stdout is not None
    try:
        yield process.stdout.readline()
    finally:
        code, errors = stop(process)
        assert (code, errors) == (0, "")  # nothing that the tests sent left a traceback


@pytest.fixture(scope="module")
def url(announced: str) -> str:
    return announced.split()[2].rstrip(",")


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, text: str, model: str = "any") -> str | None:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return answer.choices[0].message.content


def test_start_up_line_names_the_address_the_answers_and_the_replaced_ones(announced: str) -> None:
    assert announced.startswith("recorded teacher: http://127.0.0.1:")
    assert announced.endswith("/v1, 5 answers, 1 replaced by a later record\n")


def test_chat_is_answered_by_all_its_messages(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=CHAT)
    assert answer.choices[0].message.content == "billing"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "gpt-4o"
    assert answer.object == "chat.completion"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 1, 8)


def test_text_parts_mean_the_same_as_their_text(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "My card was "}, {"type": "text", "text": "charged twice"}]
    answer = client.chat.completions.create(model="m", messages=[CHAT[0], {"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "billing"


def test_last_user_message_answers_when_no_whole_chat_matches(client: openai.OpenAI) -> None:
    said = [("user", "Hello"), ("assistant", "Hi"), ("user", "twice")]
    messages = [{"role": role, "content": content} for role, content in said]
    answer = client.chat.completions.create(model="m", messages=messages)
    assert answer.choices[0].message.content == "second"


def test_record_with_a_model_wins_for_that_model_only(client: openai.OpenAI) -> None:
    assert ask(client, "Capital of France?", "gpt-4o") == "Paris, of course."
    assert ask(client, "Capital of France?", "gpt-4") == RECORDS[1]["answer"]


def test_completion_takes_several_prompts_and_n(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="m", prompt=["twice", "same"], n=2)
    assert [(choice.index, choice.text) for choice in answer.choices] == list(enumerate(["second", "second", "a", "a"]))
    assert answer.object == "text_completion"


def test_streamed_chat_has_openais_chunks(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Capital of France?"}]
    options = {"include_usage": True}
    stream = client.chat.completions.create(model="m", messages=messages, stream=True, stream_options=options)
    first, *middle, finish, counted = list(stream)
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in middle) == RECORDS[1]["answer"]
    assert len(middle) > 5
    assert finish.choices[0].finish_reason == "stop"
    assert counted.choices == []
    assert counted.usage is not None
    assert counted.usage.completion_tokens == count_tokens(str(RECORDS[1]["answer"]))
    assert len({chunk.id for chunk in (first, *middle, finish, counted)}) == 1


def test_stream_without_usage_has_none_and_ends_with_done(url: str) -> None:
    body = {"model": "m", "messages": CHAT, "stream": True}
    answer = httpx.post(f"{url}/chat/completions", json=body, timeout=60)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "usage" not in answer.text


def test_streamed_completion_joins_to_the_answer(client: openai.OpenAI) -> None:
    chunks = list(client.completions.create(model="m", prompt="Capital of France?", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == RECORDS[1]["answer"]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_streaming_helper_of_the_openai_client(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "same"}]) as stream:
        assert stream.get_final_completion().choices[0].message.content == "a"


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["gpt-4o"]


def test_health(url: str) -> None:
    assert httpx.get(url.replace("/v1", "/health"), timeout=60).json() == {"status": "ok", "answers": 5}


def test_unknown_prompt_says_how_to_add_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, "Never heard of")
    assert caught.value.code == "no_recorded_answer"
    assert "Never heard of" in caught.value.message
    assert '"answer":"..."' in caught.value.message


DEEP = b'{"model":"m","messages":[{"role":"user","content":[' + b"[" * 300 + b"]" * 300 + b"]}]}"


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/chat/completions", b"", 400, None),
        ("/chat/completions", b"not JSON", 400, None),
        ("/chat/completions", b'{"model": "\xff"}', 400, None),
        ("/chat/completions", b"[" * 100_000, 400, None),
        ("/chat/completions", b"[]", 400, None),
        ("/chat/completions", b"{}", 400, "model"),
        ("/chat/completions", b'{"model": 7}', 400, "model"),
        ("/chat/completions", b'{"model": "m"}', 400, "messages"),
        ("/chat/completions", b'{"model": "m", "messages": "hello"}', 400, "messages"),
        ("/chat/completions", b'{"model": "m", "messages": [1]}', 400, "messages"),
        ("/chat/completions", b'{"model": "m", "messages": [{"role": "user", "content": 1}]}', 400, "messages"),
        ("/chat/completions", DEEP, 400, "messages"),
        ("/chat/completions", b'{"model": "m", "messages": [], "stream": "yes"}', 400, "stream"),
        ("/chat/completions", b'{"model": "m", "stream_options": {"include_usage": true}}', 400, "stream_options"),
        ("/chat/completions", b'{"model": "m", "stream": true, "stream_options": [1]}', 400, "stream_options"),
        ("/completions", b'{"model": "m", "prompt": [1, 2]}', 400, "prompt"),
        ("/completions", b'{"model": "m", "prompt": "same", "n": 0}', 400, "n"),
        ("/completions", b'{"model": "m", "prompt": "same", "n": 1000000}', 400, "n"),
        ("/completions", b'{"model": "m", "prompt": "unknown"}', 404, "prompt"),
        ("/completions", b" " * (9 << 20), 413, None),
        ("/embeddings", b"{}", 404, None),
        ("/models", b"{}", 405, None),
    ],
)
def test_bad_request_is_refused_in_openais_shape(
    url: str, path: str, body: bytes, status: int, param: str | None
) -> None:
    answer = httpx.post(url + path, content=body, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert error["message"]
    assert error["type"] == "invalid_request_error"


def test_client_that_leaves_while_sending_is_no_failure(url: str) -> None:
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    assert httpx.get(url.replace("/v1", "/health"), timeout=60).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(records: Path, number: int) -> None:
    process = start(records)
    assert process.stdout is not None
    process.stdout.readline()
    assert stop(process, number) == (0, "")


def test_port_in_use_is_one_line(records: Path, url: str) -> None:
    taken = url.removeprefix("http://").removesuffix("/v1")
    process = start(records, "--listen", taken)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert taken in errors


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    process = start(tmp_path / "none.jsonl")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.count("\n") == 1
    assert "No such file" in errors


def test_bad_file_is_one_line_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "a", "answer": "b"}\n{"text": "a"}\n')
    process = start(path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors == f"graduand: {path}, line 2: 'answer' must be a string\n"


@pytest.mark.parametrize("listen", ["8000", "localhost:", ":80", "localhost:99999", "localhost:x"])
def test_bad_address_is_refused(records: Path, listen: str) -> None:
    process = start(records, "--listen", listen)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "HOST:PORT" in errors


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 1"),
        ("[]", "JSON object"),
        ('{"text": "a", "answer": null}', "'answer'"),
        ('{"answer": "a"}', "either 'messages' or 'text'"),
        ('{"answer": "a", "text": "b", "messages": []}', "not both"),
        ('{"answer": "a", "text": 1}', "'text'"),
        ('{"answer": "a", "text": "b", "model": 1}', "'model'"),
        ('{"answer": "a", "messages": []}', "'messages' must be"),
        ("", "holds no answers"),
    ],
)
def test_bad_record_is_refused(line: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse([line.encode()], "answers.jsonl")


@pytest.mark.parametrize("text", ["", " ", "a", "  two words \n", "naïve—yes!\n\n\t", "票務 系統。", "👍🏽 ok"])
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_tokens_are_words_and_other_visible_characters() -> None:
    assert count_tokens("It isn't free: $5.") == 9


def test_open_stream_holds_up_nobody(url: str) -> None:
    body = {"model": "m", "messages": CHAT, "stream": True}
    with httpx.stream("POST", f"{url}/chat/completions", json=body, timeout=60) as slow:
        assert httpx.get(url.replace("/v1", "/health"), timeout=30).status_code == 200
        assert slow.status_code == 200
