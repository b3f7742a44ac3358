"""What detectors read of a request: the last thing that the user said, and what the application put before it.

Used for training rows and for live requests alike, so that both are described in the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SYSTEM = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The two parts of a request; either may be empty."""

    text: str
    system: str = ""


def prompt_of(request: Mapping[str, Any]) -> Prompt:
    """The prompt of a chat (`messages`), a completion (`prompt`), an embedding (`input`) or LoRAX's `inputs`.

    >>> prompt_of({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]})
    Prompt(text='Hi', system='Be brief.')
    """
    messages = request.get("messages")
    if not isinstance(messages, list | tuple):
        found = request.get("prompt") or request.get("inputs") or request.get("input")
        return Prompt(_text(found))
    said = [message for message in messages if isinstance(message, Mapping)]
    users = [message for message in said if message.get("role") == "user"]
    system = "\n".join(_text(message.get("content")) for message in said if message.get("role") in SYSTEM)
    return Prompt(_text(users[-1].get("content")) if users else "", system)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):  # OpenAI's parts of a message, or several prompts at once
        return "\n".join(_text(part.get("text") if isinstance(part, Mapping) else part) for part in content)
    return ""
