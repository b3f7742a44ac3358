"""OpenAI's chat in the words of Anthropic's Messages API: requests and whole answers. Pure.

What has no counterpart is refused by name (Untranslatable), but for a value that asks for what happens anyway (`n: 1`,
`logprobs: false`). Left out are `metadata` and `prompt_cache_key`, which are labels for the gateway and for a vendor's cache,
`store: false`, and what an earlier turn thought (`reasoning_content`): Claude takes no thinking without its own signature.

Stated rules. Without a limit of its own a request gets DEFAULT_MAX_TOKENS, since Claude's API wants one. The system's and
developer's messages at the beginning are `system`; `user` or `safety_identifier` is `metadata.user_id`. An effort turns
thinking on (`adaptive`), and `none` off. Claude's own `thinking`, `top_k` and `cache_control` pass where a client gives them.

Source: Anthropic's API reference (Messages) and its SDK's types; OpenAI's API reference (chat completions).
"""

from typing import Any

import orjson

from graduand.gateway.model.forms import messages
from graduand.gateway.model.forms.untranslatable import Untranslatable, list_at, objects_at, refuse_others

Json = dict[str, Any]

CLAUDE = "Anthropic's Messages API"
DEFAULT_MAX_TOKENS = 16_384
TRANSLATED = frozenset(
    (
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "stream",
        "stream_options", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "user",
        "safety_identifier", "service_tier", "thinking",
    )
)  # fmt: skip
# What asks nothing of the answer.
SILENT = frozenset(("metadata", "prompt_cache_key", "prompt_cache_retention"))
# Values that ask for what happens anyway.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "store": (False,),
    "modalities": (["text"],),
    "verbosity": ("medium",),
}
MARKS = ("cache_control",)
SAME = ("top_p", "top_k", "stream", "thinking")
EFFORTS = ("low", "medium", "high", "xhigh")
CHOICES = {"auto": "auto", "required": "any", "none": "none"}
STOPS = {"length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use", "content_filter": "refusal"}
DATA = "data:"


def request_of(chat: Json, model: str) -> Json:
    """A chat request as a Messages request for `model`; raise Untranslatable.

    >>> request_of({"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]}, "claude")
    {'model': 'claude', 'max_tokens': 16384, 'system': 'Be kind.', 'messages': [{'role': 'user', 'content': 'Hi'}]}
    """
    given = {name: value for name, value in chat.items() if value not in NEUTRAL.get(name, ())}
    refuse_others(given, TRANSLATED | SILENT, CLAUDE)
    listed: list[Json] = chat["messages"]
    first = next((at for at, one in enumerate(listed) if one.get("role") not in ("system", "developer")), len(listed))
    limit = chat.get("max_completion_tokens", chat.get("max_tokens"))
    asked: Json = {"model": model, "max_tokens": DEFAULT_MAX_TOKENS if limit is None else limit}
    asked |= _system(listed[:first])
    asked["messages"] = _turns(listed, first)
    asked |= {name: chat[name] for name in SAME if chat.get(name) is not None}
    asked |= _temperature(chat.get("temperature"))
    stop = chat.get("stop")
    if stop:
        asked["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if chat.get("tools"):
        asked["tools"] = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(list_at(chat["tools"], "tools"))]
    asked |= _tool_choice(chat.get("tool_choice"), chat.get("parallel_tool_calls"), tools="tools" in asked)
    asked |= _output(chat.get("response_format"), chat.get("reasoning_effort"), thinks="thinking" in asked)
    user = chat.get("safety_identifier") if chat.get("user") is None else chat["user"]
    if user is not None:
        asked["metadata"] = {"user_id": user}
    tier = chat.get("service_tier")
    if tier == "default":
        asked["service_tier"] = "standard_only"
    elif tier not in (None, "auto"):
        raise Untranslatable("service_tier", f"{tier!r} has no counterpart in {CLAUDE}")
    return asked


def message_of(answer: Json, stops: Any, *, thinks: bool, used: Json) -> Json:
    """A whole chat answer as a Messages answer; `stops` are the request's stop sequences, `used` Anthropic's usage.

    Thinking is shown if the request `thinks`. Raise Untranslatable if a tool's arguments are no object.
    """
    choice = answer["choices"][0]
    said = choice.get("message")
    said = said if isinstance(said, dict) else {"content": choice.get("text")}
    content: list[Json] = []
    thought = thought_of(said)
    if thinks and thought:
        content.append({"type": "thinking", "thinking": thought, "signature": ""})
    text = "".join(one for one in (text_of(said), _text(said.get("refusal"))) if one)
    if text:
        content.append({"type": "text", "text": text, "citations": None})
    calls = said.get("tool_calls")
    for at, call in enumerate(calls if isinstance(calls, list) else []):
        content.append(_tool_use(call, f"tool_calls[{at}]"))
    called = any(block["type"] == "tool_use" for block in content)
    reason, sequence = stop_of(choice, stops, called=called, refused=bool(said.get("refusal")))
    return {
        "id": answer.get("id") or "msg_0",
        "type": "message",
        "role": "assistant",
        "model": answer.get("model"),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": used,
    }


def thought_of(said: Json) -> str:
    """What servers tell of a model's thinking, under whichever name: vLLM's old one, that of OpenRouter and new ones, or as parts
    of the content (Mistral)."""
    named = _text(said.get("reasoning_content")) or _text(said.get("reasoning"))
    content = said.get("content")
    if named or not isinstance(content, list):
        return named
    parts = [one for one in content if isinstance(one, dict) and one.get("type") == "thinking"]
    return "".join(_text(part.get("thinking")) for part in parts)


def text_of(said: Json) -> str:
    """The text of a message or of a piece of one: its content, or what of it is text."""
    return _text(said.get("content"))


def stop_of(choice: Json, stops: Any, *, called: bool, refused: bool) -> tuple[str, str | None]:
    """Anthropic's word for why an answer ended, and the stop sequence if the server says which it was."""
    reason, hit = choice.get("finish_reason"), choice.get("stop_reason")
    if refused:
        return "refusal", None
    if reason in (None, "stop"):
        if called:  # some servers say "stop" then
            return "tool_use", None
        if isinstance(hit, str) and isinstance(stops, list) and hit in stops:
            return "stop_sequence", hit
    return STOPS.get(reason, "end_turn") if isinstance(reason, str) else "end_turn", None


def usage_of(told: Json | None) -> Json:
    """Anthropic's usage out of OpenAI's: the cache stands beside the prompt, not in it."""
    told = told if isinstance(told, dict) else {}
    details, wrote = told.get("prompt_tokens_details"), told.get("completion_tokens_details")
    details, wrote = details if isinstance(details, dict) else {}, wrote if isinstance(wrote, dict) else {}
    count = messages.count
    read, written = count(details, "cached_tokens"), count(details, "cache_write_tokens")
    beside = min(read + written, count(told, "prompt_tokens"))
    usage: Json = {
        "input_tokens": count(told, "prompt_tokens") - beside,
        "output_tokens": max(
            count(told, "completion_tokens"), count(told, "total_tokens") - count(told, "prompt_tokens")
        ),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": beside - written if written <= beside else 0,
    }
    thought = count(wrote, "reasoning_tokens")
    return {**usage, "output_tokens_details": {"thinking_tokens": thought}} if thought else usage


# Requests.


def _system(listed: list[Json]) -> Json:
    blocks: list[Json] = []
    for at, message in enumerate(listed):
        refuse_others(message, ("role", "content"), CLAUDE, f"messages[{at}].")
        if message.get("content") != "":
            blocks += _texts(message.get("content"), f"messages[{at}].content")
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return {"system": blocks[0]["text"]}
    return {"system": blocks} if blocks else {}


def _turns(listed: list[Json], first: int) -> list[Json]:
    """The conversation; results of tools and what the user says with them are one turn."""
    turns: list[Json] = []
    results: list[Json] | None = None  # of the turn that is being written
    for at in range(first, len(listed)):
        message, where = listed[at], f"messages[{at}]"
        role = message.get("role")
        if role == "tool":
            refuse_others(message, ("role", "content", "tool_call_id"), CLAUDE, f"{where}.")
            if results is None:
                results = []
                turns.append({"role": "user", "content": results})
            results.append(_result(message, where))
            continue
        if role == "user":
            refuse_others(message, ("role", "content"), CLAUDE, f"{where}.")
            said = _user_content(message.get("content"), f"{where}.content")
            if results is not None:
                results += [{"type": "text", "text": said}] if isinstance(said, str) else said
            else:
                turns.append({"role": "user", "content": said})
        elif role == "assistant":
            turns.append(_assistant(message, where))
        elif role in ("system", "developer"):
            refuse_others(message, ("role", "content"), CLAUDE, f"{where}.")
            content = message.get("content")
            texts = content if isinstance(content, str) else _texts(content, f"{where}.content")
            turns.append({"role": "system", "content": texts})
        else:
            raise Untranslatable(f"{where}.role", f"{role!r} has no counterpart in {CLAUDE}")
        results = None
    return turns


def _assistant(message: Json, where: str) -> Json:
    silent = {"role", "content", "tool_calls", "reasoning_content", "reasoning", "refusal"}
    given = {name: one for name, one in message.items() if one not in ([], {})}  # as the SDK's own objects hold them
    refuse_others(given, silent, CLAUDE, f"{where}.")
    content, calls = message.get("content"), message.get("tool_calls")
    blocks: list[Json] = []
    if isinstance(content, str) and content:
        blocks.append({"type": "text", "text": content})
    elif isinstance(content, list):
        blocks += _texts(content, f"{where}.content")
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        blocks.append({"type": "text", "text": message["refusal"]})
    for at, call in enumerate(calls if isinstance(calls, list) else []):
        blocks.append(_tool_use(call, f"{where}.tool_calls[{at}]"))
    if isinstance(content, str) and len(blocks) < 2 and not calls:
        return {"role": "assistant", "content": content or message.get("refusal") or ""}
    return {"role": "assistant", "content": blocks}


def _tool_use(call: Any, where: str) -> Json:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise Untranslatable(where, f"has no counterpart in {CLAUDE}, which calls functions only")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments or "{}")
        except orjson.JSONDecodeError as error:
            raise Untranslatable(
                f"{where}.function.arguments", f"is not JSON, which {CLAUDE} wants: {error}"
            ) from error
    if not isinstance(arguments, dict | None):
        raise Untranslatable(f"{where}.function.arguments", f"is not a JSON object, which {CLAUDE} wants")
    return {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": arguments or {}}


def _result(message: Json, where: str) -> Json:
    content = message.get("content")
    said = content if isinstance(content, str) else _texts(content, f"{where}.content")
    return {"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": said}


def _user_content(content: Any, where: str) -> Any:
    if isinstance(content, str):
        return content
    return [_block(part, f"{where}[{at}]") for at, part in enumerate(objects_at(content, where))]


def _texts(content: Any, where: str) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    blocks = []
    for at, part in enumerate(objects_at(content, where)):
        if part.get("type") not in ("text", "refusal"):
            raise Untranslatable(f"{where}[{at}].type", f"{part.get('type')!r} has no counterpart here in {CLAUDE}")
        blocks.append(_block(part, f"{where}[{at}]"))
    return blocks


def _block(part: Json, where: str) -> Json:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        refuse_others(part, ("type", "text", "refusal", "annotations", *MARKS), CLAUDE, f"{where}.")
        text = part.get(str(kind))
        if not isinstance(text, str):
            raise Untranslatable(f"{where}.{kind}", "must be a string")
        return {"type": "text", "text": text, **_mark(part)}
    if kind == "image_url":
        refuse_others(part, ("type", "image_url", *MARKS), CLAUDE, f"{where}.")
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        detail = image.get("detail") if isinstance(image, dict) else None
        if detail not in (None, "auto", "high"):
            raise Untranslatable(f"{where}.image_url.detail", f"{detail!r} has no counterpart in {CLAUDE}")
        return {"type": "image", "source": _source(url, f"{where}.image_url.url"), **_mark(part)}
    if kind == "file":
        refuse_others(part, ("type", "file", *MARKS), CLAUDE, f"{where}.")
        given = part.get("file")
        file = given if isinstance(given, dict) else {}
        refuse_others(file, ("filename", "file_data"), CLAUDE, f"{where}.file.")
        source = _source(file.get("file_data"), f"{where}.file.file_data")
        title = {"title": file["filename"]} if isinstance(file.get("filename"), str) else {}
        return {"type": "document", "source": source, **title, **_mark(part)}
    raise Untranslatable(f"{where}.type", f"{kind!r} has no counterpart in {CLAUDE}")


def _mark(part: Json) -> Json:
    """Anthropic's own mark of what its cache is to keep, which may stand in a chat as well."""
    return {name: part[name] for name in MARKS if part.get(name) is not None}


def _source(url: Any, where: str) -> Json:
    if not isinstance(url, str):
        raise Untranslatable(where, "must be a string")
    if not url.startswith(DATA):
        return {"type": "url", "url": url}
    head, comma, data = url[len(DATA) :].partition(",")
    if not comma or not head.endswith(";base64"):
        raise Untranslatable(where, f"must be an address or data in base64: {CLAUDE} takes nothing else")
    return {"type": "base64", "media_type": head.partition(";")[0], "data": data}


def _tool(tool: Any, where: str) -> Json:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or not isinstance(function, dict) or tool.get("type") not in (None, "function"):
        raise Untranslatable(f"{where}.type", f"must be 'function': other tools have no counterpart in {CLAUDE}")
    refuse_others(tool, ("type", "function", *MARKS), CLAUDE, f"{where}.")
    refuse_others(function, ("name", "description", "parameters", "strict"), CLAUDE, f"{where}.function.")
    schema = function.get("parameters")
    named: Json = {"name": function.get("name"), **_mark(tool)}
    if function.get("description") is not None:
        named["description"] = function["description"]
    named["input_schema"] = {"type": "object", "properties": {}} if schema is None else schema
    return {**named, "strict": function["strict"]} if function.get("strict") is not None else named


def _tool_choice(choice: Any, parallel: Any, *, tools: bool) -> Json:
    kind = choice.get("type") if isinstance(choice, dict) else choice
    function = choice.get("function") if isinstance(choice, dict) else None
    if kind is None:
        wanted: Json = {"type": "auto"} if tools and parallel is False else {}
    elif kind == "function" and isinstance(function, dict):
        wanted = {"type": "tool", "name": function.get("name")}
    elif isinstance(choice, str) and choice in CHOICES:
        wanted = {"type": CHOICES[choice]}
    else:
        raise Untranslatable("tool_choice", f"{kind!r} has no counterpart in {CLAUDE}")
    if parallel is False and wanted and wanted["type"] != "none":
        wanted["disable_parallel_tool_use"] = True
    return {"tool_choice": wanted} if wanted else {}


def _output(form: Any, effort: Any, *, thinks: bool) -> Json:
    config: Json = {}
    kind = form.get("type") if isinstance(form, dict) else None
    schema = form.get("json_schema") if isinstance(form, dict) else None
    if kind == "json_schema" and isinstance(schema, dict):
        config["format"] = {"type": "json_schema", "schema": schema.get("schema")}
    elif form is not None and kind != "text":
        raise Untranslatable("response_format.type", f"{kind!r} has no counterpart in {CLAUDE}; give a json_schema")
    asked: Json = {}
    if effort == "none":
        asked["thinking"] = {"type": "disabled"}
    elif effort in EFFORTS:
        config["effort"] = effort
        if not thinks:
            asked["thinking"] = {"type": "adaptive"}
    elif effort is not None:
        raise Untranslatable("reasoning_effort", f"{effort!r} has no counterpart in {CLAUDE}")
    return {**asked, "output_config": config} if config else asked


def _temperature(value: Any) -> Json:
    if value is None:
        return {}
    if isinstance(value, int | float) and value > 1:
        raise Untranslatable("temperature", f"is more than 1, the most that {CLAUDE} takes")
    return {"temperature": value}


def _text(value: Any) -> str:
    """A text, or those of a list of parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    return "".join(str(one.get("text") or "") for one in value if isinstance(one, dict))
