"""The one form in which evidence is kept: a request and an answer of any API as chat has them. Pure.

The log keeps what was sent. Readers see this form, so that a route may be asked through several APIs at once, and pairs, checks,
scorers and training rows know nothing of it. To add an API, add what reads its requests and its answers.
"""

from collections.abc import Callable
from typing import Any

from graduand.gateway.model import responses

Json = dict[str, Any]

# By the log's word for the API.
REQUESTS: dict[str, Callable[[Json], Json]] = {"/responses": lambda data: responses.chat_request(data)[0]}


def request(endpoint: str, data: Json) -> Json:
    """A request as chat has it; those of the APIs that are like chat, and what is none at all, as they are."""
    read = REQUESTS.get(endpoint)
    return data if read is None or not data else read(data)


def answer(data: Json) -> Json:
    """An answer as chat has it, whoever gave it: an answer says itself what it is."""
    return responses.chat_answer(data) if data.get("object") == "response" else data
