"""Anthropic's Messages API in the words of OpenAI's chat: requests and whole answers. Pure.

What has no counterpart is refused by name (Untranslatable). Three things are left out, because they ask nothing of another
model: `cache_control` and `eager_input_streaming`, which are about one vendor's bill and the size of its pieces; signatures and
`redacted_thinking`, which only Claude can read; and `service_tier: auto`, which is what happens anyway.

Stated rules. `thinking.budget_tokens` up to 4,096 is `reasoning_effort: low`, up to 16,384 `medium`, more `high`; `adaptive`
is the effort of `output_config`, or none said; `disabled` says nothing, and no thinking is shown then. A tool's result with
`is_error` begins with `Error: `. Thinking of earlier turns goes along as `reasoning_content`.

Source: Anthropic's API reference (Messages) and its SDK's types; OpenAI's API reference (chat completions).
"""

from collections.abc import Callable
from typing import Any

import orjson

from graduand.gateway.model.forms.untranslatable import Untranslatable, list_at, objects_at, refuse_others

Json = dict[str, Any]

ENDPOINT = "/messages"
CHAT = "OpenAI's chat API"
# What asks nothing of the answer.
SILENT = frozenset(("cache_control", "eager_input_streaming"))
TRANSLATED = frozenset(
    (
        "model", "messages", "max_tokens", "system", "stop_sequences", "stream", "temperature", "top_p", "top_k", "tools",
        "tool_choice", "metadata", "thinking", "service_tier", "output_config",
    )
)  # fmt: skip
SAME = ("stream", "temperature", "top_p", "top_k")
LOW_BUDGET, MEDIUM_BUDGET = 4_096, 16_384
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
ERROR = "Error: "


def chat_of(asked: Json) -> Json:
    """A Messages request as a chat request; raise Untranslatable. What it asks is a request's that was checked (`model`,
    `messages` and `max_tokens` are what they must be).

    >>> chat_of({"model": "m", "max_tokens": 5, "system": "Be kind.", "messages": [{"role": "user", "content": "Hi"}]})
    {'model': 'm', 'messages': [{'role': 'system', 'content': 'Be kind.'}, {'role': 'user', 'content': 'Hi'}], \
'max_completion_tokens': 5}
    """
    refuse_others(asked, TRANSLATED | SILENT, CHAT)
    messages: list[Json] = []
    if asked.get("system"):
        messages.append({"role": "system", "content": _text_content(asked["system"], "system")})
    for at, message in enumerate(asked["messages"]):
        messages += _messages(message, f"messages[{at}]")
    if asked["max_tokens"] == 0:
        raise Untranslatable("max_tokens", f"is 0, which only fills Anthropic's cache; {CHAT} has no such request")
    chat: Json = {"model": asked["model"], "messages": messages, "max_completion_tokens": asked["max_tokens"]}
    chat |= {name: asked[name] for name in SAME if asked.get(name) is not None}
    if asked.get("stop_sequences"):
        chat["stop"] = asked["stop_sequences"]
    if asked.get("tools"):
        chat["tools"] = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(list_at(asked["tools"], "tools"))]
    chat |= _tool_choice(asked.get("tool_choice"))
    chat |= _user(asked.get("metadata"))
    chat |= _output(asked.get("output_config"))
    chat |= _thinking(asked.get("thinking"))
    tier = asked.get("service_tier")
    if tier == "standard_only":
        chat["service_tier"] = "default"
    elif tier not in (None, "auto"):
        raise Untranslatable("service_tier", f"has no counterpart in {CHAT}")
    return chat


def read(asked: Json) -> Json:
    """A logged Messages request as a chat request. What cannot be translated stays as the client wrote it, in its place."""
    kept = {"metadata": asked["metadata"]} if asked.get("metadata") is not None else {}
    try:
        return {**chat_of(asked), **kept}
    except Untranslatable:
        pass
    messages: list[Json] = []
    if asked.get("system"):
        messages.append({"role": "system", "content": _as_far(_text_content, asked["system"], "system")})
    for message in asked["messages"]:
        try:
            messages += _messages(message, "messages")
        except Untranslatable:
            messages.append(message)
    others = {name: one for name, one in asked.items() if name not in ("system", "messages")}
    return {**others, "messages": messages}


def answer_read(message: Json) -> Json:
    """A logged Messages answer as a chat answer."""
    return answer_of(message, 0)


def answer_of(message: Json, created: int) -> Json:
    """A whole Messages answer as a chat answer. Blocks of tools that ran at Anthropic are no part of it."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    for block in message["content"]:
        kind = block.get("type")
        if kind == "text":
            texts.append(str(block.get("text") or ""))
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking") or ""))
        elif kind == "tool_use":
            calls.append(_call(block))
    said: Json = {"role": "assistant", "content": "".join(texts) if texts else None}
    if any(thoughts):
        said["reasoning_content"] = "".join(thoughts)
    if calls:
        said["tool_calls"] = calls
    choice: Json = {"index": 0, "message": said, "finish_reason": finish(message.get("stop_reason")), "logprobs": None}
    if type(message.get("stop_sequence")) is str:
        choice["stop_reason"] = message["stop_sequence"]  # as vLLM tells it
    return {
        "id": message.get("id"),
        "object": "chat.completion",
        "created": created,
        "model": message.get("model"),
        "choices": [choice],
        "usage": usage_of(message.get("usage")),
    }


def finish(reason: Any) -> str:
    """OpenAI's word for why an answer ended."""
    return FINISHES.get(reason, "stop") if isinstance(reason, str) else "stop"


def usage_of(told: Any) -> Json | None:
    """Anthropic's usage as OpenAI counts: what came out of the cache or went into it is a part of the prompt.

    >>> usage_of({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 90})
    {'prompt_tokens': 100, 'completion_tokens': 5, 'total_tokens': 105, 'prompt_tokens_details': {'cached_tokens': 90}}
    """
    if not isinstance(told, dict) or type(told.get("output_tokens")) is not int:
        return None
    read, written = count(told, "cache_read_input_tokens"), count(told, "cache_creation_input_tokens")
    created = told.get("cache_creation")
    if not written and isinstance(created, dict):
        written = sum(count(created, name) for name in created)
    prompt, completion = count(told, "input_tokens") + read + written, count(told, "output_tokens")
    usage: Json = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    details = {name: number for name, number in (("cached_tokens", read), ("cache_write_tokens", written)) if number}
    if details:
        usage["prompt_tokens_details"] = details
    wrote = told.get("output_tokens_details")
    thought = count(wrote, "thinking_tokens") if isinstance(wrote, dict) else 0
    if thought:
        usage["completion_tokens_details"] = {"reasoning_tokens": thought}
    return usage


def count(counts: Json, name: str) -> int:
    """A count; 0 for what is none."""
    value = counts.get(name)
    return value if type(value) is int and value > 0 else 0


# Requests.


def _as_far(translate: Callable[[Any, str], Any], value: Any, where: str) -> Any:
    try:
        return translate(value, where)
    except Untranslatable:
        return value


def _messages(message: Json, where: str) -> list[Json]:
    """One turn: results of tools are messages of their own in a chat."""
    refuse_others(message, ("role", "content"), CHAT, f"{where}.")
    role, content = message.get("role"), message.get("content")
    if role == "system":
        return [{"role": "system", "content": _text_content(content, f"{where}.content")}]
    if role == "user":
        return _user_messages(content, f"{where}.content")
    if role == "assistant":
        return [_assistant(content, f"{where}.content")]
    raise Untranslatable(f"{where}.role", "must be 'user', 'assistant' or 'system'")


def _user_messages(content: Any, where: str) -> list[Json]:
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    messages: list[Json] = []
    parts: list[Json] = []
    blocks = objects_at(content, where)
    for at, block in enumerate(blocks):
        here = f"{where}[{at}]"
        if block.get("type") != "tool_result":
            parts.append(_part(block, here))
            continue
        if parts:
            messages.append(_said("user", parts))
            parts = []
        messages.append(_result(block, here))
    if parts or not blocks:
        messages.append(_said("user", parts))
    return messages


def _assistant(content: Any, where: str) -> Json:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    parts: list[Json] = []
    calls: list[Json] = []
    thoughts: list[str] = []
    for at, block in enumerate(objects_at(content, where)):
        kind, here = block.get("type"), f"{where}[{at}]"
        if kind == "tool_use":
            refuse_others(block, SILENT | {"type", "id", "name", "input", "caller"}, CHAT, f"{here}.")
            calls.append(_call(block))
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking") or ""))
        elif kind == "text":
            parts.append(_text_part(block, here))
        elif kind != "redacted_thinking":
            raise Untranslatable(f"{here}.type", f"{kind!r} has no counterpart in {CHAT}")
    message: Json = _said("assistant", parts) if parts or not calls else {"role": "assistant", "content": None}
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    return {**message, "tool_calls": calls} if calls else message


def _call(block: Json) -> Json:
    try:
        arguments = orjson.dumps(block.get("input") or {}).decode()
    except TypeError as error:  # orjson reads deeper nesting than it writes
        raise Untranslatable("input", f"of a tool's call cannot be written as text: {error}") from error
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": arguments},
    }


def _result(block: Json, where: str) -> Json:
    known = SILENT | {"type", "tool_use_id", "content", "is_error"}
    refuse_others(block, known, CHAT, f"{where}.")
    content = _text_content(block.get("content") or "", f"{where}.content")
    if block.get("is_error") is True:
        content = ERROR + content if isinstance(content, str) else [{"type": "text", "text": ERROR.rstrip()}, *content]
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content}


def _said(role: str, parts: list[Json]) -> Json:
    """A message; one text alone is its content, as most templates of small models want it."""
    if not parts:
        return {"role": role, "content": ""}
    alone = len(parts) == 1 and parts[0]["type"] == "text"
    return {"role": role, "content": parts[0]["text"] if alone else parts}


def _text_content(content: Any, where: str) -> Any:
    """Text, or several: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = [_text_part(block, f"{where}[{at}]") for at, block in enumerate(objects_at(content, where))]
    return _said("", parts)["content"]


def _text_part(block: Json, where: str) -> Json:
    if block.get("type") != "text":
        raise Untranslatable(f"{where}.type", f"{block.get('type')!r} has no counterpart here in {CHAT}")
    if block.get("citations"):
        raise Untranslatable(f"{where}.citations", f"have no counterpart in {CHAT}")
    refuse_others(block, SILENT | {"type", "text", "citations"}, CHAT, f"{where}.")
    text = block.get("text")
    if not isinstance(text, str):
        raise Untranslatable(f"{where}.text", "must be a string")
    return {"type": "text", "text": text}


def _part(block: Json, where: str) -> Json:
    kind = block.get("type")
    if kind == "text":
        return _text_part(block, where)
    if kind not in ("image", "document"):
        raise Untranslatable(f"{where}.type", f"{kind!r} has no counterpart in {CHAT}")
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    known = SILENT | {"type", "source"} | ({"title"} if kind == "document" else set())
    given = {name: one for name, one in block.items() if one != {"enabled": False}}  # citations that are not wanted
    refuse_others(given, known, CHAT, f"{where}.")
    inline = f"data:{source.get('media_type')};base64,{source.get('data')}"
    if kind == "image" and source.get("type") in ("base64", "url"):
        return {"type": "image_url", "image_url": {"url": inline if source["type"] == "base64" else source.get("url")}}
    if kind == "document" and source.get("type") == "base64":
        name = block.get("title")
        return {
            "type": "file",
            "file": {"filename": name if isinstance(name, str) else "document.pdf", "file_data": inline},
        }
    raise Untranslatable(f"{where}.source.type", f"{source.get('type')!r} has no counterpart in {CHAT}")


def _tool(tool: Any, where: str) -> Json:
    if not isinstance(tool, dict):
        raise Untranslatable(where, "must be an object")
    if tool.get("type") not in (None, "custom"):
        raise Untranslatable(
            f"{where}.type", f"{tool['type']!r} is a tool of Anthropic's own, which no other model has"
        )
    given = {name: one for name, one in tool.items() if one not in (False, [], ["direct"])}
    known = SILENT | {"type", "name", "description", "input_schema", "strict"}
    refuse_others(given, known, CHAT, f"{where}.")
    function: Json = {"name": tool.get("name")}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    if tool.get("input_schema") is not None:
        function["parameters"] = tool["input_schema"]
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _tool_choice(choice: Any) -> Json:
    if choice is None:
        return {}
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "tool":
        wanted: Any = {"type": "function", "function": {"name": choice.get("name")}}
    elif isinstance(kind, str) and kind in CHOICES:
        wanted = CHOICES[kind]
    else:
        raise Untranslatable("tool_choice.type", "must be 'auto', 'any', 'tool' or 'none'")
    refuse_others(choice, ("type", "name", "disable_parallel_tool_use"), CHAT, "tool_choice.")
    alone = choice.get("disable_parallel_tool_use")
    return {"tool_choice": wanted, **({"parallel_tool_calls": not alone} if isinstance(alone, bool) else {})}


def _user(metadata: Any) -> Json:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise Untranslatable("metadata", "must be an object")
    refuse_others(metadata, ("user_id",), CHAT, "metadata.")
    return {"user": metadata["user_id"]} if metadata.get("user_id") is not None else {}


def _output(config: Any) -> Json:
    """How the answer is to be written, and with what effort."""
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise Untranslatable("output_config", "must be an object")
    refuse_others(config, ("format", "effort"), CHAT, "output_config.")
    given: Json = {}
    wanted = config.get("format")
    if wanted is not None:
        if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
            raise Untranslatable("output_config.format.type", "must be 'json_schema'")
        refuse_others(wanted, ("type", "schema"), CHAT, "output_config.format.")
        schema: Json = {"name": "answer", "schema": wanted.get("schema"), "strict": True}
        given["response_format"] = {"type": "json_schema", "json_schema": schema}
    effort = config.get("effort")
    if effort == "max":
        raise Untranslatable("output_config.effort", f"'max' has no counterpart in {CHAT}")
    return {**given, "reasoning_effort": effort} if effort is not None else given


def _thinking(thinking: Any) -> Json:
    if thinking is None:
        return {}
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind in ("adaptive", "disabled"):
        return {}  # the effort is what the request names besides; and no thinking is shown that was not asked for
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if kind != "enabled" or type(budget) is not int:
        raise Untranslatable("thinking.type", f"{kind!r} has no counterpart in {CHAT}")
    return {"reasoning_effort": "low" if budget <= LOW_BUDGET else "medium" if budget <= MEDIUM_BUDGET else "high"}
