import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch

from graduand.gateway.engine import model as ragged
from graduand.gateway.engine.engine import Engine

TOKENS = 12
QUESTIONS = ("What is the capital of France?", "List three fruits. " * 6)


def greedy(engine: Engine, requests: list[tuple[list[int], str | None]], piece: int) -> list[list[int]]:
    """All requests in one batch, prompts fed in pieces of that length."""
    running = [(list(prompt), engine._model.new_cache(1), engine.find(name)) for prompt, name in requests]
    answers: list[list[int]] = [[] for _ in requests]
    while any(len(answer) < TOKENS for answer in answers):
        spans, owners = [], {}
        for (left, cache, adapter), answer in zip(running, answers, strict=True):
            if len(answer) < TOKENS:
                spans.append(ragged.Span(left[:piece], cache, adapter, wants_logits=len(left) <= piece))
                owners[id(spans[-1])] = (left, answer)
                del left[:piece]
        spans = ragged.order(spans)
        rows = iter(engine._model.forward(spans))
        for span in spans:
            if span.wants_logits:
                left, answer = owners[id(span)]
                left.append(int(next(rows).argmax()))
                answer.extend(left[-1:])
    return answers


@pytest.mark.parametrize("piece", [7, 1000])
def test_a_mixed_batch_answers_as_transformers_does_alone(
    engine: Engine, adapters: dict[str, Path], reference: Any, piece: int
) -> None:
    prompts = [asyncio.run(engine.chat_prompt([{"role": "user", "content": text}])) for text in QUESTIONS]
    requests = [(prompt, name) for prompt in prompts for name in (None, *adapters)]
    answers = greedy(engine, requests, piece)
    for (prompt, name), answer in zip(requests, answers, strict=True):
        expected = reference.answer(prompt, name, TOKENS)
        assert answer[: len(expected)] == expected, name
    assert len({tuple(answer) for answer in answers[:3]}) == 3, "each adapter must change the answer"


def test_logits_are_those_of_the_network(engine: Engine, reference: Any) -> None:
    prompt = asyncio.run(engine.tokens("The quick brown fox"))
    with reference.network.disable_adapter(), torch.inference_mode():
        expected = reference.network(input_ids=torch.tensor([prompt])).logits[0, -1]
    (row,) = engine._model.forward([ragged.Span(prompt, engine._model.new_cache(1), None)])
    assert torch.allclose(row, expected, atol=1e-3)


def test_a_forked_cache_is_independent(engine: Engine) -> None:
    first = engine._model.new_cache(4)
    engine._model.forward([ragged.Span([5, 6, 7], first, None)])
    second = first.fork()
    (one,) = engine._model.forward([ragged.Span([8], first, None)])
    engine._model.forward([ragged.Span([9], first, None)])
    (other,) = engine._model.forward([ragged.Span([8], second, None)])
    assert torch.allclose(one, other, atol=1e-5)
    assert (first.length, second.length) == (5, 4)


def test_a_cache_grows_without_losing_tokens() -> None:
    cache = ragged.KVCache(layers=1, heads=1, width=2, capacity=1)
    cache.keys[:, :, :3], cache.length = 7.0, 3
    cache.reserve(200)
    assert cache.keys.shape[2] >= 203
    assert bool((cache.keys[:, :, :3] == 7.0).all())
