"""The LoRAX dialect, quirks included, without a network; its native routes are served beside OpenAI's as well."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from graduand.gateway.engine.engine import Engine
from graduand.gateway.engine.lorax_protocol import Parameters
from graduand.gateway.engine.scheduler import Scheduler
from graduand.gateway.engine.server import app
from graduand.gateway.errors import RequestError

RED, BLUE, BASE = "red@0123456789ab", "blue", "smollm2-135m"
PROMPT = "The capital of France is"
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def lorax(engine: Engine, address: str) -> Iterator[TestClient]:
    """A LoRAX-only server on the session's engine, with a scheduler of its own: the model is used by one at a time."""
    running = engine._scheduler
    engine._scheduler = Scheduler(engine._model, engine.metrics, max_sequences=4)
    with TestClient(app(engine, "lorax")) as client:
        yield client
    engine._scheduler = running


def stream(client: TestClient, path: str, body: dict[str, Any]) -> list[Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200
    data = [line.removeprefix("data:").strip() for line in response.text.split("\n\n") if line]
    return [part if part == "[DONE]" else json.loads(part) for part in data]


def test_native_answers(lorax: TestClient) -> None:
    parameters = {"max_new_tokens": 4, "details": True, "adapter_id": BLUE, "return_k_alternatives": 2}
    response = lorax.post("/generate", json={"inputs": PROMPT, "parameters": parameters})
    answer = response.json()
    details = answer["details"]
    assert "".join(token["text"] for token in details["tokens"]) == answer["generated_text"]
    assert (details["finish_reason"], details["generated_tokens"], details["prompt_tokens"]) == ("length", 4, 5)
    assert all(len(token["alternative_tokens"]) == 2 for token in details["tokens"])
    assert (response.headers["x-adapter-id"], response.headers["x-generated-tokens"]) == (BLUE, "4")
    plain = lorax.post("/", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 4, "adapter_id": BLUE}}).json()
    assert plain == [{"generated_text": answer["generated_text"]}]


def test_native_streams_have_no_done(lorax: TestClient) -> None:
    parameters = {"max_new_tokens": 5, "stop": ["Paris"], "adapter_id": ""}
    chunks = stream(lorax, "/generate_stream", {"inputs": PROMPT, "parameters": parameters})
    assert chunks[-1]["generated_text"] == " Paris", "the stop sequence stays in the text"
    assert chunks[-1]["details"]["finish_reason"] == "stop_sequence"
    assert all(chunk["details"] is None for chunk in chunks[:-1])


def test_the_best_of_several(lorax: TestClient) -> None:
    parameters = {"max_new_tokens": 3, "best_of": 3, "do_sample": True, "seed": 1, "details": True}
    details = lorax.post("/generate", json={"inputs": PROMPT, "parameters": parameters}).json()["details"]

    def mean(sequence: dict[str, Any]) -> float:
        return sum(t["logprob"] for t in sequence["tokens"]) / len(sequence["tokens"])

    assert len(details["best_of_sequences"]) == 2
    assert all(mean(details) >= mean(other) for other in details["best_of_sequences"])


@pytest.mark.parametrize("model", ["", BASE, RED])
def test_openai_routes_with_the_quirks(lorax: TestClient, model: str) -> None:
    body = {"model": model, "messages": FRANCE, "max_tokens": 4}
    answer = lorax.post("/v1/chat/completions", json=body).json()
    assert (answer["id"], answer["object"], answer["model"]) == ("null", "text_completion", BASE)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 4
    *chunks, done = stream(lorax, "/v1/chat/completions", body | {"stream": True})
    assert done == "[DONE]"
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == answer["choices"][0]["message"]["content"]
    assert {(chunk["model"], chunk["created"]) for chunk in chunks} == {("null", 0)}
    assert ["usage" in chunk for chunk in chunks] == [False, False, False, True]


def test_a_stop_sequence_is_called_a_content_filter(lorax: TestClient) -> None:
    body = {"model": BASE, "prompt": PROMPT, "max_tokens": 5, "stop": ["Paris"]}
    assert lorax.post("/v1/completions", json=body).json()["choices"][0]["finish_reason"] == "content_filter"
    *chunks, _ = stream(lorax, "/v1/completions", body | {"stream": True})
    assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"
    assert all(chunk["usage"]["total_tokens"] == 0 for chunk in chunks[:-1])


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/generate", {"inputs": PROMPT, "parameters": {"adapter_id": "gone"}}, 424, "generation"),
        ("/generate", {"inputs": ""}, 422, "validation"),
        ("/generate", {"input": "x"}, 422, "validation"),
        ("/generate", {"inputs": "x " * 700}, 422, "validation"),
        ("/generate", {"inputs": "x", "parameters": {"stop": "text"}}, 422, "validation"),
        ("/generate", {"inputs": "no", "parameters": {"apply_chat_template": True}}, 422, "validation"),
        ("/generate", {"inputs": "[{}]", "parameters": {"apply_chat_template": True}}, 422, "template_error"),
        ("/v1/chat/completions", {"model": "gone", "messages": FRANCE}, 424, "generation"),
        ("/v1/chat/completions", {"model": BASE, "messages": FRANCE, "stop": "text"}, 422, "validation"),
    ],
)
def test_errors(lorax: TestClient, path: str, body: dict[str, Any], status: int, kind: str) -> None:
    response = lorax.post(path, json=body)
    assert (response.status_code, response.json()["error_type"]) == (status, kind)


def test_errors_of_streams_are_events(lorax: TestClient) -> None:
    body = {"inputs": PROMPT, "parameters": {"adapter_id": "gone"}}
    assert [chunk["error_type"] for chunk in stream(lorax, "/generate_stream", body)] == ["generation"]


@pytest.mark.parametrize(
    "options",
    [
        {"adapter_id": "a", "merged_adapters": {"ids": ["b"]}},
        {"merged_adapters": {"ids": ["b"]}},
        {"best_of": 2},
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_k": 0},
        {"max_new_tokens": 0},
        {"stop": ["1", "2", "3", "4", "5"]},
        {"return_k_alternatives": 0},
    ],
)
def test_refuses_bad_parameters(options: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        Parameters(**options).check(stream=False)
    assert (caught.value.status, caught.value.kind) == (422, "validation")


def test_there_is_no_model_list(lorax: TestClient) -> None:
    assert lorax.get("/v1/models").status_code == 404
    assert lorax.get("/info").json()["model_id"] == BASE


def test_both_dialects_on_one_port(address: str) -> None:
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 2}}
    assert httpx.post(f"{address}/generate", json=body, timeout=60).json()["generated_text"] == " Paris."
    assert httpx.get(f"{address}/v1/models", timeout=60).status_code == 200
