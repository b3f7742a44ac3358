"""OpenAI's Responses API in the form of its chat API: one form for evidence, and for models that speak chat only. Pure.

A request becomes a chat request; what chat has no place for is refused by name (`Untranslatable`), never left out in silence. An
answer becomes a chat answer.

What is said with other words is said again: `instructions` and the role `developer` are the system's, calls of functions stand
in the message before their outputs, `text.format` is `response_format`. What has no effect on the answer of a model that
speaks chat is left out: where an answer is kept (`store`), how it is cached, in which form reasoning is told (`include`,
`reasoning.summary`), bounds on tools that it does not have. Of the reasoning of earlier turns, what is text goes along as
`reasoning_content`; summaries are for people, and what is encrypted is for the model that wrote it. Fields that neither API
knows are an engine's own and stay.

Source: OpenAI's API reference (responses, chat completions) and openai-python's types.
"""

from typing import Any, Final

from graduand.gateway.model.forms.untranslatable import Untranslatable

Json = dict[str, Any]

ENDPOINT: Final = "/responses"
# What both APIs call by the same name and mean the same by.
SAME: Final = (
    "model", "stream", "temperature", "top_p", "user", "safety_identifier", "metadata", "service_tier", "prompt_cache_key",
    "parallel_tool_calls",
)  # fmt: skip
# What is translated below.
SAID: Final = (
    "input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens", "top_logprobs", "include",
)  # fmt: skip
# What changes nothing about the answer of a model that speaks chat. `truncation`: a prompt that is too long is refused by the
# model, and the teacher asked instead.
NO_MATTER: Final = (
    "store",
    "truncation",
    "max_tool_calls",
    "stream_options",
    "prompt_cache_options",
    "prompt_cache_retention",
)
# What only the service itself can do. Without a value, as clients send them, they mean nothing.
THE_SERVICES: Final = (
    "background", "background_options", "conversation", "previous_response_id", "prompt", "context_management", "image",
    "moderation", "access_programs",
)  # fmt: skip
# What a chat request would hold for one of the above, or would change the form of its answer.
CHATS: Final = frozenset(
    (
        "messages", "n", "functions", "function_call", "response_format", "max_tokens", "max_completion_tokens",
        "reasoning_effort", "logprobs", "modalities", "audio", "verbosity",
    )
)  # fmt: skip
KNOWN: Final = frozenset((*SAME, *SAID, *NO_MATTER, *THE_SERVICES))
TEXTS: Final = ("input_text", "output_text", "text")
ROLES: Final = {"developer": "system"}
CHAT_COUNTS: Final = {
    "input_tokens": "prompt_tokens", "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details", "output_tokens_details": "completion_tokens_details",
}  # fmt: skip
LOGPROBS: Final = "message.output_text.logprobs"


def chat_of(data: Json) -> Json:
    """The chat request that asks the same; raise Untranslatable if there is none.

    >>> chat_of({"model": "m", "input": "hello", "instructions": "Be brief."})["messages"]
    [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'hello'}]
    >>> chat_of({"input": "hello", "tools": [{"type": "web_search"}]})
    Traceback (most recent call last):
    ...
    graduand.gateway.model.forms.untranslatable.Untranslatable: 'tools[0]' is a tool of type 'web_search'; chat has functions only
    """
    for name in THE_SERVICES:
        if data.get(name):
            raise Untranslatable(name, "is what only the vendor's own service does")
    chat: Json = {name: data[name] for name in SAME if data.get(name) is not None}
    chat["messages"] = _messages(data)
    if not chat["messages"]:
        raise Untranslatable("input", "says nothing to a model")
    _add_tools(chat, data)
    _add_form(chat, data)
    _add_bounds(chat, data)
    for name, value in data.items():
        if name in CHATS:
            raise Untranslatable(name, "is a field of chat completions and not of responses")
        if name not in KNOWN:
            chat[name] = value
    return chat


def chat_answer(data: Json) -> Json:
    """A response, whole or as far as it came, as a chat answer with one choice.

    >>> said = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
    >>> chat_answer({"output": [said], "status": "completed"})["choices"][0]["message"]["content"]
    'hi'
    """
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    images: list[Json] = []
    logprobs: list[Any] = []
    for item in _dicts(data.get("output")):
        kind = item.get("type")
        if kind == "message":
            for part in _dicts(item.get("content")):
                texts.append(_text(part.get("text")))
                refusals.append(_text(part.get("refusal")))
                told = part.get("logprobs")
                logprobs += told if type(told) is list else []
        elif kind == "function_call":
            function = {"name": _text(item.get("name")), "arguments": _text(item.get("arguments"))}
            calls.append({"id": item.get("call_id"), "type": "function", "function": function})
        elif kind == "custom_tool_call":
            custom = {"name": _text(item.get("name")), "input": _text(item.get("input"))}
            calls.append({"id": item.get("call_id"), "type": "custom", "custom": custom})
        elif kind == "reasoning":
            thoughts += [_text(one.get("text")) for one in _dicts(item.get("content")) or _dicts(item.get("summary"))]
        elif kind == "image_generation_call":
            images.append({"type": "image_url", "image_url": {"url": _text(item.get("result"))}})
    message: Json = {"role": "assistant", "content": "".join(texts) or (None if calls or any(refusals) else "")}
    for name, said in (("refusal", refusals), ("reasoning_content", thoughts)):
        if any(said):
            message[name] = "".join(said)
    for name, listed in (("tool_calls", calls), ("images", images)):
        if listed:
            message[name] = listed
    choice: Json = {"index": 0, "finish_reason": _finish(data, calls), "message": message}
    if logprobs:
        choice["logprobs"] = {"content": logprobs}
    created = data.get("created_at")
    return {
        "id": data.get("id"),
        "object": "chat.completion",
        "created": int(created) if isinstance(created, int | float) else 0,
        "model": data.get("model"),
        "choices": [choice],
        "usage": chat_usage(data.get("usage")),
    }


def chat_usage(told: Any) -> Json | None:
    """A response's usage in chat's words; None if there is none."""
    if type(told) is not dict:
        return None
    return {CHAT_COUNTS.get(str(name), str(name)): value for name, value in told.items()}


def _finish(data: Json, calls: list[Json]) -> str | None:
    status, why = data.get("status"), data.get("incomplete_details")
    if status == "incomplete":
        reason = why.get("reason") if type(why) is dict else None
        return "content_filter" if reason == "content_filter" else "length"
    if status != "completed":
        return None
    return "tool_calls" if calls else "stop"


# A request: what was said.


def _messages(data: Json) -> list[Json]:
    messages: list[Json] = []
    told, given = data.get("instructions"), data.get("input")
    if type(told) is str and told:
        messages.append({"role": "system", "content": told})
    elif told:
        raise Untranslatable("instructions", "is no text")
    if type(given) is str:
        messages.append({"role": "user", "content": given})
        return messages
    for at, item in enumerate(given if type(given) is list else []):
        if type(item) is dict:
            _add_item(messages, item, f"input[{at}]")
        else:
            raise Untranslatable(f"input[{at}]", "is no item")
    return [one for one in messages if not _unsaid(one)]


def _add_item(messages: list[Json], item: Json, where: str) -> None:
    kind = item.get("type")
    if kind == "message" or (kind is None and "role" in item):
        role = _text(item.get("role"))
        content = _content(item.get("content"), f"{where}.content")
        if role == "assistant" and type(content) is list:
            if any(part["type"] != "text" for part in content):
                raise Untranslatable(f"{where}.content", "is an answer that is not only text")
            content = "".join([part["text"] for part in content])
        if role == "assistant" and messages and _unsaid(messages[-1]):
            messages[-1]["content"] = content
        else:
            messages.append({"role": ROLES.get(role, role), "content": content})
    elif kind == "function_call":
        for name in ("namespace", "caller"):
            given = item.get(name)
            if given and given != {"type": "direct"}:
                raise Untranslatable(f"{where}.{name}", "is what chat's calls do not have")
        function = {"name": _text(item.get("name")), "arguments": _text(item.get("arguments"))}
        _calling(messages).append({"id": item.get("call_id"), "type": "function", "function": function})
    elif kind == "function_call_output":
        content = _content(item.get("output"), f"{where}.output", texts_only=True)
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
    elif kind == "reasoning":
        thought = "".join([_text(one.get("text")) for one in _dicts(item.get("content"))])
        if thought:
            said = _thinking(messages)
            said["reasoning_content"] = said.get("reasoning_content", "") + thought
    else:
        raise Untranslatable(where, f"is an item of type {_shown(kind)}")


def _unsaid(message: Json) -> bool:
    """Whether an assistant's message has nothing but thoughts so far."""
    return message["role"] == "assistant" and message["content"] is None and "tool_calls" not in message


def _thinking(messages: list[Json]) -> Json:
    """The message that a thought belongs to: the one whose calls have no outputs yet, or the next one."""
    if not messages or not ("tool_calls" in messages[-1] or _unsaid(messages[-1])):
        messages.append({"role": "assistant", "content": None})
    return messages[-1]


def _calling(messages: list[Json]) -> list[Json]:
    """The calls of the assistant's message that a call belongs to: the one before it, or one of its own."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    calls: list[Json] = messages[-1].setdefault("tool_calls", [])
    return calls


def _content(given: Any, where: str, texts_only: bool = False) -> Any:
    """A message's content as chat has it: text, or parts where there is more than one, or something else than text."""
    if type(given) is str:
        return given
    if type(given) is not list:
        raise Untranslatable(where, "is neither text nor a list of parts")
    parts: list[Json] = []
    for at, part in enumerate(given):
        if type(part) is not dict:
            raise Untranslatable(f"{where}[{at}]", "is no part of a content")
        made = _part(part, f"{where}[{at}]")
        if texts_only and made["type"] != "text":
            raise Untranslatable(f"{where}[{at}]", "is in a tool's output, which may only be text")
        parts.append(made)
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return parts or ""


def _part(part: Json, where: str) -> Json:
    kind = part.get("type")
    if kind in TEXTS:
        return {"type": "text", "text": _text(part.get("text"))}
    if kind == "refusal":
        return {"type": "text", "text": _text(part.get("refusal"))}
    if kind == "input_image" and type(part.get("image_url")) is str:
        image = {"url": part["image_url"]}
        if type(part.get("detail")) is str:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file" and not part.get("file_url"):
        file = {name: part[name] for name in ("file_id", "file_data", "filename") if part.get(name) is not None}
        return {"type": "file", "file": file}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    what = "is a file that the vendor is to fetch" if kind == "input_file" else f"is a part of type {_shown(kind)}"
    if kind == "input_image":
        what = "is an image that only the vendor has; send it as image_url"
    raise Untranslatable(where, what)


# A request: tools, the answer's form, and bounds.


def _add_tools(chat: Json, data: Json) -> None:
    tools: list[Json] = []
    given, choice = data.get("tools"), data.get("tool_choice")
    if given is not None and type(given) is not list:
        raise Untranslatable("tools", "is no list")
    for at, tool in enumerate(given if type(given) is list else []):
        tools.append(_tool(tool, f"tools[{at}]"))
    if type(choice) is dict:
        kind = choice.get("type")
        if kind == "function":
            chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
        elif kind == "allowed_tools":
            allowed = [one.get("name") for one in _dicts(choice.get("tools")) if one.get("type") == "function"]
            if len(allowed) < len(_dicts(choice.get("tools"))) or not allowed:
                raise Untranslatable("tool_choice.tools", "names tools that are no functions")
            tools = [one for one in tools if one["function"]["name"] in allowed]
            chat["tool_choice"] = choice.get("mode") or "auto"
        else:
            raise Untranslatable("tool_choice", f"is a choice of type {_shown(kind)}; chat has functions only")
    elif choice is not None:
        chat["tool_choice"] = choice
    if tools:
        chat["tools"] = tools
        return
    for name in ("tool_choice", "parallel_tool_calls"):  # chat takes them only where there are tools
        chat.pop(name, None)


def _tool(tool: Any, where: str) -> Json:
    if type(tool) is not dict or tool.get("type") != "function":
        kind = tool.get("type") if type(tool) is dict else None
        raise Untranslatable(where, f"is a tool of type {_shown(kind)}; chat has functions only")
    function: Json = {"name": ""}
    for name, value in tool.items():
        if name in ("name", "description", "parameters", "strict"):
            if value is not None:
                function[name] = value
        elif name != "type" and value:
            raise Untranslatable(f"{where}.{name}", "is what chat's functions do not have")
    return {"type": "function", "function": function}


def _add_form(chat: Json, data: Json) -> None:
    text = data.get("text")
    if type(text) is not dict:
        if text is not None:
            raise Untranslatable("text", "is no object")
        return
    form = text.get("format")
    kind = form.get("type") if type(form) is dict else None
    if type(form) is dict and kind == "json_schema":
        schema = {name: value for name, value in form.items() if name != "type" and value is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        chat["response_format"] = {"type": "json_object"}
    elif kind != "text" and form is not None:
        raise Untranslatable("text.format", f"is the format {_shown(kind)}")
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]


def _add_bounds(chat: Json, data: Json) -> None:
    most, top, include = data.get("max_output_tokens"), data.get("top_logprobs"), data.get("include")
    if most is not None:
        chat["max_tokens"] = most
    if top or (type(include) is list and LOGPROBS in include):
        chat["logprobs"] = True
        if top is not None:
            chat["top_logprobs"] = top
    reasoning = data.get("reasoning")
    if type(reasoning) is not dict:
        if reasoning is not None:
            raise Untranslatable("reasoning", "is no object")
        return
    for name, value in reasoning.items():
        if name == "effort":
            if value is not None:
                chat["reasoning_effort"] = value
        elif name not in ("summary", "generate_summary") and value:
            raise Untranslatable(f"reasoning.{name}", "is what chat does not have")


def _dicts(given: Any) -> list[Json]:
    return [one for one in given if type(one) is dict] if type(given) is list else []


def _text(given: Any) -> str:
    return given if type(given) is str else ""


def _shown(kind: Any) -> str:
    return repr(kind[:60]) if type(kind) is str else "without a name"
