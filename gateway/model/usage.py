"""What an answer used, in tokens: as its vendor means what it tells, or estimated from text. Pure.

Costs, limits, budgets, metrics and the log all go by the one `Tokens` that `of` gives.

Told. `prompt` is everything that the model read and `completion` everything that it wrote, whether or not the vendor counts
it apart: reasoning beside `completion_tokens` (xAI, Gemini: the total is more than the two), Anthropic's cache beside
`input_tokens`. What is cached, written to a cache or sound is a part of those two. It is `exact` only if it adds up.

Estimated, where nothing usable is told. TEXT_BYTES bytes of UTF-8 are a token. Text is that of messages, prompts and calls of
tools, and the keys and texts of tools' definitions; a token given by its id is a token, and a streamed piece of text is at
least one. Pictures, sounds, files and addresses of them count nothing: how many tokens they are is not known here.

Sources: OpenAI's API reference (CompletionUsage), Anthropic's prompt caching guide, DeepSeek's context caching guide, xAI's and
Google's pages on reasoning models, OpenRouter's usage accounting.
"""

from typing import Any, NamedTuple

from graduand.gateway.model.fields import Usage

Json = dict[str, Any]

TEXT_BYTES = 4
MOST = 10**12  # more is no count
# Fields of a message, of a part of its content, or of an item of OpenAI's responses, that are text.
TEXTS = ("content", "text", "refusal", "reasoning_content", "reasoning", "thinking", "arguments", "output")
# What a call of a tool calls, a function or a tool that takes text as it is.
CALLED = ("function", "custom")
PROMPTS = ("prompt", "suffix", "input", "system", "instructions")
PROMPT_NAMES = ("prompt_tokens", "input_tokens")
COMPLETION_NAMES = ("completion_tokens", "output_tokens")


class Tokens(NamedTuple):
    """Tokens of one answer and how they are known: `exact`, `estimated` or `partial` (estimated, and the answer broke off).

    Of `prompt`: `cached` came out of the provider's cache, `written` went into it, `heard` is sound. Of `completion`:
    `spoken` is sound.
    """

    prompt: int
    completion: int
    kind: str
    cached: int = 0
    written: int = 0
    heard: int = 0
    spoken: int = 0

    @property
    def total(self) -> int:
        """What limits and budgets count."""
        return self.prompt + self.completion

    @property
    def logged(self) -> Usage:
        """As a record has it."""
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "kind": self.kind}


def of(raw: Any, request: Json, answer: Json | None, pieces: int, *, completed: bool) -> Tokens:
    """The tokens of an answer with the usage `raw`; without a usable one, an estimate.

    `answer` is what came, in OpenAI's form (None: nothing), and `pieces` how many pieces of text it came in.
    """
    found = told(raw)
    if found is not None and found.total:
        return found
    written = max(pieces, answer_tokens(answer))
    if found is not None and not written:
        return found
    return Tokens(request_tokens(request), written, "estimated" if completed else "partial")


def told(usage: Any) -> Tokens | None:
    """The tokens in a vendor's usage object; None if there are none in it.

    >>> told({"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 11500})
    Tokens(prompt=1000, completion=10500, kind='exact', cached=0, written=0, heard=0, spoken=0)
    >>> told({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 90})
    Tokens(prompt=100, completion=5, kind='exact', cached=90, written=0, heard=0, spoken=0)
    """
    if type(usage) is not dict:
        return None
    if len(usage) == 3:  # the three usual counts leave nothing to look for
        prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        if prompt is not None and completion is not None and usage.get("total_tokens") == prompt + completion:
            return Tokens(prompt, completion, "exact")
    read, wrote = _details(usage, "prompt", "input"), _details(usage, "completion", "output")
    total, reasoning = _count(usage.get("total_tokens")), _first(wrote, "reasoning_tokens")
    reasoning = reasoning or _first(usage, "reasoning_tokens")
    cached = _first(read, "cached_tokens") or _first(usage, "prompt_cache_hit_tokens", "cached_tokens")
    written = _first(read, "cache_write_tokens", "cache_creation_tokens")
    prompt = _named(usage, PROMPT_NAMES)
    completion = _named(usage, COMPLETION_NAMES)
    if prompt is None or (completion is None and any(usage.get(name) is not None for name in COMPLETION_NAMES)):
        return None
    completion = completion or 0  # embeddings have none
    beside = _first(usage, "cache_read_input_tokens"), _first(usage, "cache_creation_input_tokens") or _created(usage)
    if sum(beside):
        if not _within(usage, sum(beside), prompt, completion, total, reasoning, cached):
            prompt += sum(beside)
        cached, written = max(cached, beside[0]), max(written, beside[1])
    exact = True
    if total:
        exact = total >= prompt + completion and (total > prompt + completion or reasoning <= completion)
        completion = max(completion, total - prompt)
    elif reasoning > completion:
        completion += reasoning
    heard, spoken = _first(read, "audio_tokens"), _first(wrote, "audio_tokens")
    exact = exact and cached + written <= prompt and heard <= prompt and spoken <= completion
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    kind = "exact" if exact else "estimated"
    return Tokens(prompt, completion, kind, cached, written, min(heard, prompt), min(spoken, completion))


def _within(
    usage: Json, beside: int, prompt: int, completion: int, total: int | None, reasoning: int, cached: int
) -> bool:
    """Whether Anthropic's fields of a cache tell of a part of the prompt, as proxies write them in OpenAI's usage."""
    if "prompt_tokens" not in usage or beside > prompt:
        return False
    return cached > 0 or (bool(total) and (total or 0) - prompt - completion in (0, reasoning))


def _created(usage: Json) -> int:
    """Anthropic's cache writes, by how long they are kept."""
    made = usage.get("cache_creation")
    return sum(_count(one) or 0 for one in made.values()) if isinstance(made, dict) else 0


def _details(usage: Json, *sides: str) -> Json:
    for side in sides:
        found = usage.get(f"{side}_tokens_details")
        if isinstance(found, dict):
            return found
    return {}


def _named(usage: Json, names: tuple[str, ...]) -> int | None:
    """The count under the first of the names that is there."""
    for name in names:
        value = usage.get(name)
        if value is not None:
            return _count(value)
    return None


def _first(counts: Json, *names: str) -> int:
    """The first count that is more than nothing."""
    for name in names:
        found = _count(counts.get(name))
        if found:
            return found
    return 0


def _count(value: Any) -> int | None:
    if type(value) is int:
        number: int = value
        return number if 0 <= number <= MOST else None
    if type(value) is not float or not 0 <= value <= MOST:
        return None
    return int(value) if value == int(value) else None


def request_tokens(request: Json) -> int:
    """About how many tokens the text of a request is.

    >>> request_tokens({"messages": [{"role": "user", "content": "12345"}]})
    2
    """
    size = ids = 0
    messages = request.get("messages")
    for message in messages if isinstance(messages, list) else ():
        size += _said(message)
    for name in PROMPTS:
        given = request.get(name)
        listed = given if isinstance(given, list) else [given]
        for one in listed:
            size += _bytes(one) if isinstance(one, str) else _said(one)
            ids += _ids(one)
    size += sum(_all(request.get(name)) for name in ("tools", "functions"))
    return -(-size // TEXT_BYTES) + ids


def answer_tokens(answer: Json | None) -> int:
    """About how many tokens the text of an answer in OpenAI's form is."""
    size = 0
    choices = None if answer is None else answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            text = choice.get("text")
            size += _said(choice.get("message")) + (_bytes(text) if isinstance(text, str) else 0)
    return -(-size // TEXT_BYTES)


def _said(message: Any) -> int:
    """The bytes of text in a message, of parts within parts too; the kinds of parts that are no text hold none of TEXTS."""
    size, waiting = 0, [message]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict):
            continue
        for name in TEXTS:
            value = one.get(name)
            if isinstance(value, str):
                size += _bytes(value)
            elif isinstance(value, list):
                waiting += [{"text": part} if isinstance(part, str) else part for part in value]
        calls = one.get("tool_calls")
        listed = [*calls] if isinstance(calls, list) else []
        for call in [*listed, {"function": one.get("function_call")}]:
            for kind in CALLED if isinstance(call, dict) else ():
                called = call.get(kind)
                if isinstance(called, dict):
                    size += _all([called.get("name"), called.get("arguments"), called.get("input")])
    return size


def _all(value: Any) -> int:
    """The bytes of all keys and texts of a value, however deep."""
    size, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            size += _bytes(one)
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
    return size


def _ids(one: Any) -> int:
    """How many tokens are given by their ids: as a number, or as a list of them."""
    if isinstance(one, list):
        return sum(type(number) is int for number in one)
    return 1 if type(one) is int else 0


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
