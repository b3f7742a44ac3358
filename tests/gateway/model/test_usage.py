"""What an answer used: as each vendor means its numbers, and an estimate of text alone where there are none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.model import usage
from graduand.gateway.model.usage import Tokens, told
from graduand.monitoring.prices import Price

Json = dict[str, Any]
CACHED = {"prompt_tokens_details": {"cached_tokens": 800}}


def openai(prompt: Any, completion: Any, total: Any = None, **more: Any) -> Json:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **more}


def anthropic(read: int, written: int, **more: Any) -> Json:
    return {"cache_read_input_tokens": read, "cache_creation_input_tokens": written, **more}


TOLD: list[tuple[str, Any, Tokens | None]] = [
    ("plain", openai(3, 2, 5), Tokens(3, 2, "exact")),
    ("no total", openai(3, 2), Tokens(3, 2, "exact")),
    ("fractions that are none", openai(3.0, 2.0, 5.0), Tokens(3, 2, "exact")),
    ("embeddings", {"prompt_tokens": 3, "total_tokens": 3}, Tokens(3, 0, "exact")),
    ("zeros", openai(0, 0, 0), Tokens(0, 0, "exact")),
    ("xAI, with its reasoning", openai(1000, 500, 11500, completion_tokens_details={"reasoning_tokens": 10000}),
     Tokens(1000, 10500, "exact")),
    ("Gemini, the total alone tells", openai(1000, 500, 11500), Tokens(1000, 10500, "exact")),
    ("Gemini that only thought", {"prompt_tokens": 10, "total_tokens": 60}, Tokens(10, 50, "exact")),
    ("OpenAI, reasoning within", openai(10, 500, 510, completion_tokens_details={"reasoning_tokens": 400}),
     Tokens(10, 500, "exact")),
    ("reasoning beside, no total", openai(10, 5, completion_tokens_details={"reasoning_tokens": 400}),
     Tokens(10, 405, "exact")),
    ("more reasoning than answer, and no room for it", openai(10, 5, 15, completion_tokens_details={"reasoning_tokens": 9}),
     Tokens(10, 5, "estimated")),
    ("a total that is too small", openai(10, 5, 12), Tokens(10, 5, "estimated")),
    ("OpenAI's cache", openai(1000, 5, 1005, **CACHED), Tokens(1000, 5, "exact", cached=800)),
    ("OpenAI's cache and reasoning beside", openai(1000, 5, 1105, **CACHED), Tokens(1000, 105, "exact", cached=800)),
    ("DeepSeek's cache", openai(1000, 5, 1005, prompt_cache_hit_tokens=800, prompt_cache_miss_tokens=200),
     Tokens(1000, 5, "exact", cached=800)),
    ("Moonshot's cache", openai(1000, 5, 1005, cached_tokens=800), Tokens(1000, 5, "exact", cached=800)),
    ("more cached than read", openai(10, 5, 15, prompt_tokens_details={"cached_tokens": 11}),
     Tokens(10, 5, "estimated", cached=10)),
    ("Anthropic, its own names", anthropic(800, 100, input_tokens=100, output_tokens=5),
     Tokens(1000, 5, "exact", cached=800, written=100)),
    ("Anthropic, writes by how long they are kept", {"input_tokens": 1, "output_tokens": 5, "cache_creation": {
        "ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}}, Tokens(8, 5, "exact", written=7)),
    ("Anthropic's cache beside OpenAI's names", anthropic(800, 100, **openai(100, 5)),
     Tokens(1000, 5, "exact", cached=800, written=100)),
    ("the same with a total of everything", anthropic(800, 100, **openai(100, 5, 1005)),
     Tokens(1000, 5, "exact", cached=800, written=100)),
    ("the same with a total that leaves the cache out", anthropic(800, 100, **openai(100, 5, 105)),
     Tokens(1000, 5, "estimated", cached=800, written=100)),
    ("a proxy's, whose prompt has the cache in it", anthropic(800, 100, **openai(1000, 5, 1005)),
     Tokens(1000, 5, "exact", cached=800, written=100)),
    ("a proxy's that tells the cache twice", anthropic(800, 100, **openai(1000, 5), **CACHED),
     Tokens(1000, 5, "exact", cached=800, written=100)),
    ("a proxy's, with reasoning beside", anthropic(800, 0, **openai(1000, 500, 11500),
     completion_tokens_details={"reasoning_tokens": 10000}), Tokens(1000, 10500, "exact", cached=800)),
    ("OpenRouter's cache writes", openai(1000, 5, 1005, prompt_tokens_details={"cached_tokens": 0, "cache_write_tokens": 900}),
     Tokens(1000, 5, "exact", written=900)),
    ("OpenAI's newer names", {"input_tokens": 1000, "output_tokens": 5, "total_tokens": 1005, "input_tokens_details": {
        "cached_tokens": 800}, "output_tokens_details": {"reasoning_tokens": 3}}, Tokens(1000, 5, "exact", cached=800)),
    ("sound", openai(100, 50, 150, prompt_tokens_details={"audio_tokens": 80, "cached_tokens": 0},
     completion_tokens_details={"audio_tokens": 40}), Tokens(100, 50, "exact", heard=80, spoken=40)),
    ("more sound than answer", openai(100, 50, 150, completion_tokens_details={"audio_tokens": 60}),
     Tokens(100, 50, "estimated", spoken=50)),
    ("texts", openai("3", 2), None), ("texts", openai(3, "2"), None), ("below nothing", openai(-3, 2), None),
    ("yes", openai(True, 2), None), ("more than anybody has", openai(10**30, 2), None),
    ("no number", openai(float("nan"), 2), None),
    ("nothing", {}, None), ("null", None, None), ("a list", [], None),
]  # fmt: skip


@pytest.mark.parametrize(("what", "given", "wanted"), TOLD, ids=[one[0] for one in TOLD])
def test_told(what: str, given: Any, wanted: Tokens | None) -> None:
    assert told(given) == wanted


counts = st.none() | st.booleans() | st.integers(-3, 10**13) | st.integers(0, 60) | st.floats() | st.text(max_size=2)
details = st.dictionaries(
    st.sampled_from(["cached_tokens", "audio_tokens", "reasoning_tokens", "cache_write_tokens"]), counts
)
usages = st.dictionaries(
    st.sampled_from(
        ["prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "reasoning_tokens",
         "cache_read_input_tokens", "cache_creation_input_tokens", "prompt_cache_hit_tokens", "cache_creation",
         "prompt_tokens_details", "completion_tokens_details"]
    ),
    counts | details | st.lists(counts, max_size=1),
)  # fmt: skip


@given(usages)
def test_what_is_told_is_whole_and_its_parts_are_within(raw: Any) -> None:
    found = told(raw)
    if found is None:
        return
    assert all(type(one) is int and one >= 0 for one in found if one != found.kind)
    assert found.cached + found.written <= found.prompt
    assert found.heard <= found.prompt
    assert found.spoken <= found.completion
    total = raw.get("total_tokens")
    if found.kind == "exact" and type(total) is int and 0 < total <= usage.MOST:
        assert found.total == total


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_rest_of_the_total_is_completion(prompt: int, completion: int, reasoning: int) -> None:
    found = told(openai(prompt, completion, prompt + completion + reasoning))
    assert found == Tokens(prompt, completion + reasoning, "exact")


@pytest.mark.parametrize(
    ("price", "raw", "dollars"),
    [
        (Price(3, 15), openai(1000, 500, 11500), 0.1605),
        (Price(3, 15, cached_input=0.3, cache_write=3.75), anthropic(800, 100, input_tokens=100, output_tokens=10),
         (100 * 3 + 800 * 0.3 + 100 * 3.75 + 10 * 15) / 1e6),
        (Price(3, 15), anthropic(800, 100, input_tokens=100, output_tokens=10), (1000 * 3 + 10 * 15) / 1e6),
        (Price(2.5, 10, audio_input=40, audio_output=80), openai(100, 50, 150, prompt_tokens_details={"audio_tokens": 80},
         completion_tokens_details={"audio_tokens": 40}), (20 * 2.5 + 80 * 40 + 10 * 10 + 40 * 80) / 1e6),
        (Price(1, 0, cached_input=0), openai(1000, 5, 1005, **CACHED), 200 / 1e6),
    ],
)  # fmt: skip
def test_dollars_by_what_was_told(price: Price, raw: Json, dollars: float) -> None:
    found = told(raw)
    assert found is not None
    assert price.dollars(*found[:2], *found[3:]) == pytest.approx(dollars)


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 3_000_000}}
SOUND = {"type": "input_audio", "input_audio": {"data": "A" * 100_000, "format": "wav"}}
FILE = {"type": "file", "file": {"file_data": "A" * 100_000, "filename": "a.pdf"}}
TOOL = {"type": "function", "function": {"name": "f" * 4, "parameters": {"type": "object"}}}
REQUESTS: list[tuple[str, Json, int]] = [
    ("text", {"messages": [{"role": "user", "content": "x" * 40}]}, 10),
    ("it is rounded up", {"messages": [{"role": "user", "content": "x"}]}, 1),
    ("bytes, not characters", {"messages": [{"role": "user", "content": "é" * 8}]}, 4),
    ("parts", {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 40}, PICTURE, SOUND, FILE]}]}, 10),
    ("parts within a tool's result",
     {"messages": [{"role": "tool", "content": [{"type": "tool_result", "content": [{"text": "x" * 8}, PICTURE]}]}]}, 2),
    ("nothing but a picture", {"messages": [{"role": "user", "content": [PICTURE]}]}, 0),
    ("an earlier answer that was spoken", {"messages": [{"role": "assistant", "audio": {"id": "A" * 400}}]}, 0),
    ("calls of tools",
     {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f" * 4, "arguments": "{}" * 6}}]}]}, 4),
    ("definitions of tools", {"messages": [], "tools": [TOOL]}, 12),
    ("a prompt", {"prompt": "x" * 40}, 10), ("prompts", {"prompt": ["x" * 20, "x" * 20]}, 10),
    ("ids of tokens", {"prompt": [1, 2, 3]}, 3), ("lists of ids", {"input": [[1, 2], [3]]}, 3),
    ("nothing", {}, 0),
    ("not as it should be", {"messages": [None, 5, {"content": {"a": 1}}], "prompt": {"a": 1}, "tools": 5}, 0),
]  # fmt: skip


@pytest.mark.parametrize(("what", "request_", "wanted"), REQUESTS, ids=[one[0] for one in REQUESTS])
def test_estimates_count_text_only(what: str, request_: Json, wanted: int) -> None:
    assert usage.request_tokens(request_) == wanted


def message(**fields: Any) -> Json:
    return {"choices": [{"message": {"role": "assistant", **fields}}]}


@pytest.mark.parametrize(
    ("answer", "pieces", "wanted"),
    [
        (message(content="x" * 40), 0, 10),
        (message(content="x" * 40), 25, 25),  # a piece is at least a token
        (message(content=None, tool_calls=[{"function": {"name": "f" * 4, "arguments": "{}" * 2}}]), 0, 2),
        (message(content="x" * 8, images=[PICTURE], audio={"data": "A" * 4000}), 0, 2),
        ({"choices": [{"text": "x" * 8}, {"text": "x" * 8}]}, 0, 4),
        ({"data": [{"embedding": [0.5] * 100}]}, 0, 0),
        (None, 0, 0),
    ],
)
def test_an_answer_without_usage_is_estimated(answer: Json | None, pieces: int, wanted: int) -> None:
    asked = {"prompt": "x" * 40}
    for raw in (None, {}, openai("3", 2)):
        assert usage.of(raw, asked, answer, pieces, completed=True) == Tokens(10, wanted, "estimated")
        assert usage.of(raw, asked, answer, pieces, completed=False) == Tokens(10, wanted, "partial")
    assert usage.of(openai(3, 2), asked, answer, pieces, completed=False) == Tokens(3, 2, "exact")
    # LoRAX's zeros on an answer that holds something are no count.
    zeros = usage.of(openai(0, 0, 0), asked, answer, pieces, completed=True)
    assert zeros == (Tokens(10, wanted, "estimated") if wanted else Tokens(0, 0, "exact"))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["content", "text", "tool_calls", "function", "name", "message"]), inner)
    ),
)


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "input", "tools", "choices"]), anything), anything)
def test_anything_is_counted(given_: Json, raw: Any) -> None:
    found = usage.of(raw, given_, given_, 1, completed=True)
    assert found.prompt >= 0
    assert found.completion >= 0


def test_depth_is_no_matter() -> None:
    deep: Any = "x" * 8
    for _ in range(100_000):
        deep = [deep]
    assert usage.request_tokens({"messages": [{"content": deep}], "tools": deep}) == 2
