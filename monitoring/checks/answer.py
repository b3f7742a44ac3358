"""What checks see of an answer: its choices, as text. Pure.

Source: OpenAI's API reference, chat completion and completion objects. Reads what is there and never fails: whatever is
not as the reference says is as good as not there.
"""

from typing import Any

Json = dict[str, Any]


# What a message may show besides its text.
SHOWN = ("images", "reasoning_details", "reasoning_content", "reasoning", "annotations")


class Choice:
    """One choice: what a person reads (or hears), why it ended, the model's own refusal, the arguments of the tools it calls,
    and whether it `shows` what is no text: a sound, a picture, a thought.

    Never changed once it is made; a plain class, because that is the quickest to make once it is compiled.
    """

    __slots__ = ("arguments", "finish", "refusal", "shows", "text")

    def __init__(
        self, text: str, finish: str = "", refusal: str = "", arguments: tuple[str, ...] = (), shows: bool = False
    ) -> None:
        self.text = text
        self.shows = shows
        self.finish = finish
        self.refusal = refusal
        self.arguments = arguments


def choices_of(answer: Json, echoed: str = "") -> list[Choice]:
    """The choices of an answer in OpenAI's shape. `echoed`: the prompt, where a completion was to repeat it."""
    listed = answer.get("choices")
    if type(listed) is not list:
        return []
    return [_choice(one, echoed) for one in listed if type(one) is dict]


def _choice(data: Json, echoed: str) -> Choice:
    finish = data.get("finish_reason")
    reason: str = finish if type(finish) is str else ""
    message = data.get("message")
    if type(message) is not dict:
        text = data.get("text")
        words: str = text if type(text) is str else ""
        return Choice(words.removeprefix(echoed), reason)
    content, refusal, calls = message.get("content"), message.get("refusal"), message.get("tool_calls")
    said: str = content if type(content) is str else _parts(content)
    refused: str = refusal if type(refusal) is str else ""
    if (said and not said.isspace()) or refused or calls:
        return Choice(said, reason, refused, _arguments(calls) if calls else ())
    return _otherwise(message, said, reason)


def _otherwise(message: Json, blank: str, reason: str) -> Choice:
    """A message without text or calls of tools: it may call a function the old way, speak, or show."""
    call, audio = message.get("function_call"), message.get("audio")
    if type(call) is dict:
        return Choice(blank, reason, arguments=_arguments([{"function": call}]))
    if type(audio) is dict:
        transcript = audio.get("transcript")
        heard: str = transcript if type(transcript) is str else ""
        return Choice(heard or blank, reason, shows=audio.get("data") is not None)
    content = message.get("content")
    parts = type(content) is list and any(_shows(part) for part in content)
    return Choice(blank, reason, shows=parts or any(bool(message.get(name)) for name in SHOWN))


def _shows(part: Any) -> bool:
    """Whether a part of a content is there to be seen and no text."""
    return type(part) is dict and part.get("type") not in (None, "text")


def _parts(content: Any) -> str:
    """The text of a content that comes in parts."""
    if type(content) is not list:
        return ""
    texts = [part.get("text") for part in content if type(part) is dict]
    return "".join([text for text in texts if type(text) is str])


def _arguments(calls: Any) -> tuple[str, ...]:
    if type(calls) is not list:
        return ()
    found = []
    for call in calls:
        function = call.get("function") if type(call) is dict else None
        arguments = function.get("arguments") if type(function) is dict else None
        found.append(arguments if type(arguments) is str else "")
    return tuple(found)
