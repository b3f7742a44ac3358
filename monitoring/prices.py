"""What an answer costs: pure arithmetic over declared prices.

Two kinds of price. A model has a price by tokens. An upstream of one's own has a price by the hour: a second in which n
requests are under way on a replica costs each of them 1/n of it (processor sharing), so that what requests cost never
exceeds the bill; what is left of the bill was idle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens of one model; `cached_input` for what the provider found in its cache."""

    input: Annotated[float, Field(ge=0, description="dollars for a million tokens of prompts")]
    output: Annotated[float, Field(ge=0, description="dollars for a million tokens of answers")]
    cached_input: Annotated[
        float | None,
        Field(ge=0, description="dollars for a million tokens that the provider had cached; without it as `input`"),
    ] = None

    def dollars(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """What one answer costs.

        >>> Price(2.5, 10, cached_input=1.25).dollars(1_000_000, 100_000, cached_tokens=400_000)
        3.0
        """
        cached = min(cached_tokens, prompt_tokens) if self.cached_input is not None else 0
        fresh = (prompt_tokens - cached) * self.input + completion_tokens * self.output
        return (fresh + cached * (self.cached_input or 0.0)) / MILLION


def price_of(prices: Mapping[str, Price], model: str) -> Price | None:
    """The price of a model or an adapter; `name` stands for every `name@digest`.

    >>> price_of({"triage": Price(1, 2)}, "triage@3f9c1a0b22de")
    Price(input=1, output=2, cached_input=None)
    """
    return prices.get(model) or prices.get(model.partition("@")[0])
