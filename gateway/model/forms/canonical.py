"""The one form in which evidence is read: OpenAI's chat, whatever API a client spoke. Pure.

The log keeps what clients sent. Who compares, trains or measures sees this form, so that one route may be asked in several
APIs and has one evidence. What cannot be translated stays as the client wrote it: then there is no chat to read.
"""

from collections.abc import Callable
from typing import Any

from graduand.gateway.model.forms import messages, responses
from graduand.gateway.model.forms.untranslatable import Untranslatable

Json = dict[str, Any]

# By the endpoint that a record names; OpenAI's own APIs are read as they are.
REQUESTS: dict[str, Callable[[Json], Json]] = {
    messages.ENDPOINT: messages.read,
    responses.ENDPOINT: responses.chat_of,
}
# By what an answer calls itself.
ANSWERS: dict[tuple[str, str], Callable[[Json], Json]] = {
    ("type", "message"): messages.answer_read,
    ("object", "response"): responses.chat_answer,
}
# What goes wrong where something is not made as its API says.
STRANGE = (Untranslatable, AttributeError, LookupError, TypeError, ValueError)


def request(asked: Json, endpoint: str | None) -> Json:
    """A client's request as a chat request."""
    reads = REQUESTS.get(endpoint or "")
    if reads is None or not asked:
        return asked
    try:
        return reads(asked)
    except STRANGE:
        return asked


def answer(given: Json) -> Json:
    """A logged answer as a chat answer, or as it is where it is one."""
    for (name, word), reads in ANSWERS.items():
        if given.get(name) == word:
            try:
                return reads(given)
            except STRANGE:
                return given
    return given
