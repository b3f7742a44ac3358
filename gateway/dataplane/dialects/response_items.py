"""Responses as the gateway writes them, out of the chat answers of models that speak chat only. Pure but for ids and the clock.

Source: OpenAI's API reference (the response object and its items) and openai-python's types, which say what must be there.
"""

import time
import uuid
from typing import Any, Final

from graduand.gateway.model import lenient, usage
from graduand.gateway.model.forms import responses

Json = dict[str, Any]

# What a response says again of its request, and what it says where the request says nothing.
ECHOED: Final[Json] = {
    "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "metadata": {}, "parallel_tool_calls": True,
    "previous_response_id": None, "prompt_cache_key": None, "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None, "service_tier": "default", "temperature": None, "text": {"format": {"type": "text"}},
    "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": None, "truncation": "disabled", "user": None,
}  # fmt: skip


def new_id(prefix: str) -> str:
    """A fresh id in this API's style, such as `resp_6f0c…`."""
    return f"{prefix}_{uuid.uuid4().hex}"


def begun(asked: Json, model: str) -> Json:
    """The response to the request `asked` before anything of it has come."""
    echoed = {name: value if asked.get(name) is None else asked[name] for name, value in ECHOED.items()}
    return {
        "id": new_id("resp"), "object": "response", "created_at": int(time.time()), "status": "in_progress",
        "background": False, "completed_at": None, "error": None, "incomplete_details": None, "model": model,
        "output": [], "store": False, "usage": None, **echoed,
    }  # fmt: skip


def ended(response: Json, output: list[Json], finish: Any, told: Any) -> Json:
    """The same when it is over: `finish` is chat's reason, `told` the usage as chat tells it."""
    reason = why_incomplete(finish)
    return {
        **response,
        "status": "completed" if reason is None else "incomplete",
        "completed_at": int(time.time()) if reason is None else None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": output,
        "usage": usage_of(told),
    }


def why_incomplete(finish: Any) -> str | None:
    """This API's reason for an answer that is not all of it; None if it is."""
    return "max_output_tokens" if finish == "length" else "content_filter" if finish == "content_filter" else None


def usage_of(told: Any) -> Json | None:
    """The usage object of what chat told; None if it told none."""
    tokens = usage.told(told)
    if tokens is None:
        return None
    details = told.get("completion_tokens_details")
    reasoning = details.get("reasoning_tokens") if type(details) is dict else told.get("reasoning_tokens")
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.written},
        "output_tokens": tokens.completion,
        "output_tokens_details": {"reasoning_tokens": reasoning if type(reasoning) is int else 0},
        "total_tokens": tokens.total,
    }


# Items.


def reasoning(id: str, text: str | None, status: str) -> Json:
    """The item of what the model has thought; None: nothing yet."""
    content = [] if text is None else [reasoning_part(text)]
    return {"id": id, "type": "reasoning", "summary": [], "content": content, "status": status}


def message(id: str, parts: list[Json], status: str) -> Json:
    """The item of what the model has said."""
    return {"id": id, "type": "message", "role": "assistant", "status": status, "content": parts}


def call(id: str, call_id: str, name: str, arguments: str, status: str) -> Json:
    """The item of a function's call."""
    return {
        "id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name, "arguments": arguments,
    }  # fmt: skip


def reasoning_part(text: str) -> Json:
    return {"type": "reasoning_text", "text": text}


def text_part(text: str, annotations: list[Json], logprobs: list[Json]) -> Json:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs}


def refusal_part(text: str) -> Json:
    return {"type": "refusal", "refusal": text}


def items(choice: Json, asked: Json) -> list[Json]:
    """The items of a chat answer's choice."""
    given = choice.get("message")
    said: Json = given if type(given) is dict else {}
    status = "completed" if why_incomplete(choice.get("finish_reason")) is None else "incomplete"
    found: list[Json] = []
    thought, text = thought_and_said(said)
    if thought:
        found.append(reasoning(new_id("rs"), lenient.mended(thought), "completed"))
    refusal, calls = said.get("refusal"), _calls(said)
    parts: list[Json] = []
    if text or not (refusal or calls or thought):
        logprobs = logprobs_of(choice.get("logprobs"), asked)
        parts.append(text_part(lenient.mended(text), annotations_of(said.get("annotations")), logprobs))
    if type(refusal) is str and refusal:
        parts.append(refusal_part(lenient.mended(refusal)))
    if parts:
        found.append(message(new_id("msg"), parts, "completed"))
    for one in calls:
        function: Json = one["function"]
        arguments = function.get("arguments")
        name, number = str(function.get("name") or ""), str(one.get("id") or new_id("call"))
        found.append(call(new_id("fc"), number, name, arguments if type(arguments) is str else "", "completed"))
    if found:
        found[-1]["status"] = status
    return found


def _calls(said: Json) -> list[Json]:
    listed, old = said.get("tool_calls"), said.get("function_call")
    if type(listed) is list and listed:
        return [one for one in listed if type(one) is dict and type(one.get("function")) is dict]
    return [{"function": old}] if type(old) is dict else []


def thought_and_said(said: Json) -> tuple[str, str]:
    """What of a message or of a piece of it is reasoning, and what is text, as engines and vendors write them: vLLM, DeepSeek
    (`reasoning_content`), OpenRouter (`reasoning`), Mistral (parts)."""
    thought = said.get("reasoning_content")
    if type(thought) is not str or not thought:
        thought = said.get("reasoning")
    thoughts: list[str] = [thought] if type(thought) is str else []
    content = said.get("content")
    if type(content) is not list:
        return "".join(thoughts), content if type(content) is str else ""
    texts: list[str] = []
    for part in content:
        if type(part) is not dict:
            continue
        text, thinking = part.get("text"), part.get("thinking")
        if type(text) is str:
            texts.append(text)
        for one in thinking if type(thinking) is list else [{"text": thinking}]:
            inner = one.get("text") if type(one) is dict else None
            if type(inner) is str:
                thoughts.append(inner)
    return "".join(thoughts), "".join(texts)


def annotations_of(given: Any) -> list[Json]:
    """Chat's annotations, of which each has its fields in an object of its own."""
    found = []
    for one in given if type(given) is list else []:
        kind = one.get("type") if type(one) is dict else None
        if type(kind) is str and type(one.get(kind)) is dict:
            found.append({"type": kind, **one[kind]})
    return found


def logprobs_of(given: Any, asked: Json) -> list[Json]:
    """The log probabilities that the client asked for; none if it asked for none."""
    most, include = asked.get("top_logprobs"), asked.get("include")
    content = given.get("content") if type(given) is dict else None
    if not (most or (type(include) is list and responses.LOGPROBS in include)) or type(content) is not list:
        return []
    return [_logprob(one, most if type(most) is int else 0) for one in content if type(one) is dict]


def _logprob(one: Json, most: int) -> Json:
    tops = one.get("top_logprobs")
    shown = [_bare(top) for top in tops[:most] if type(top) is dict] if type(tops) is list else []
    return {**_bare(one), "top_logprobs": shown}


def _bare(one: Json) -> Json:
    token = str(one.get("token") or "")
    spelled = one.get("bytes")
    if type(spelled) is not list:
        spelled = list(token.encode("utf-8", "replace"))
    return {"token": token, "logprob": one.get("logprob") or 0.0, "bytes": spelled}
