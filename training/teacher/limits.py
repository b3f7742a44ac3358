"""How much a teacher may be asked, and how long to wait after a refusal. Pure: clocks and randomness come in as values.

Invariant: a request is only sent while what was spent, what is on its way at its worst, and itself fit into the budget.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from graduand.gateway.model import retry_after

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
# An endpoint that asks for a longer wait than this is better asked again tomorrow.
LONGEST_RETRY_AFTER_S = 600.0
BYTES_A_TOKEN = 3.0  # on the safe side: English has about four
TOKENS_A_MESSAGE = 8


@dataclass(slots=True)
class Budget:
    """Dollars and tokens that may be spent; None: no limit."""

    most_dollars: float | None = None
    most_tokens: int | None = None
    dollars: float = 0.0
    tokens: int = 0
    _reserved: dict[str, tuple[float, int]] = field(default_factory=dict)
    _due_dollars: float = 0.0
    _due_tokens: int = 0

    def reserve(self, key: str, dollars: float, tokens: int) -> bool:
        """Set the worst case of one request aside; False if it does not fit."""
        due_dollars, due_tokens = self._due_dollars + dollars, self._due_tokens + tokens
        if self.most_dollars is not None and self.dollars + due_dollars > self.most_dollars:
            return False
        if self.most_tokens is not None and self.tokens + due_tokens > self.most_tokens:
            return False
        self._reserved[key] = (dollars, tokens)
        self._due_dollars, self._due_tokens = due_dollars, due_tokens
        return True

    def settle(self, key: str, dollars: float, tokens: int) -> None:
        """What the request really took, in place of what was set aside; nothing if it failed."""
        due_dollars, due_tokens = self._reserved.pop(key, (0.0, 0))
        self._due_dollars = self._due_dollars - due_dollars if self._reserved else 0.0
        self._due_tokens -= due_tokens
        self.dollars += dollars
        self.tokens += tokens


def estimated_tokens(messages: "list[dict[str, str]]") -> int:
    """About how many tokens a prompt has; it errs on the high side."""
    return sum(int(len(message["content"].encode()) / BYTES_A_TOKEN) + TOKENS_A_MESSAGE for message in messages)


def wait_s(attempt: int, retry_after_s: float | None, spread: float) -> float:
    """Seconds before another try after `attempt` (from 0) failed; `spread` in [0, 1) keeps clients from marching in step.

    >>> wait_s(0, None, 0.0), wait_s(3, None, 0.5), wait_s(0, 7.0, 0.25)
    (0.5, 6.0, 7.25)
    """
    own: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt) * (1 + spread) / 2
    return own if retry_after_s is None else max(own, retry_after_s) + spread


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """The header Retry-After as seconds from `now` (RFC 9110: a number or a date), or OpenAI's retry-after-ms.

    >>> retry_after_s({"retry-after": "20"}, 0.0), retry_after_s({"retry-after-ms": "1500"}, 0.0)
    (20.0, 1.5)
    >>> retry_after_s({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 0.0), retry_after_s({}, 0.0)
    (60.0, None)
    """
    try:
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    except (KeyError, ValueError):
        return retry_after.seconds(headers.get("retry-after"), now)
