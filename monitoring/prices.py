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
    """Dollars for a million tokens of one model; a part that has no price of its own costs as the rest of its side."""

    input: Annotated[float, Field(ge=0, description="dollars for a million tokens of prompts")]
    output: Annotated[float, Field(ge=0, description="dollars for a million tokens of answers")]
    cached_input: Annotated[
        float | None,
        Field(ge=0, description="dollars for a million tokens that the provider had cached; without it as `input`"),
    ] = None
    cache_write: Annotated[
        float | None,
        Field(
            ge=0, description="dollars for a million tokens that went into the provider's cache; without it as `input`"
        ),
    ] = None
    audio_input: Annotated[
        float | None, Field(ge=0, description="dollars for a million tokens of sound in prompts; without it as `input`")
    ] = None
    audio_output: Annotated[
        float | None,
        Field(ge=0, description="dollars for a million tokens of sound in answers; without it as `output`"),
    ] = None

    def dollars(
        self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0, written_tokens: int = 0,
        heard_tokens: int = 0, spoken_tokens: int = 0,
    ) -> float:  # fmt: skip
        """What one answer costs. Cached, written and heard tokens are parts of the prompt, spoken ones of the completion.

        >>> Price(2.5, 10, cached_input=1.25).dollars(1_000_000, 100_000, cached_tokens=400_000)
        3.0
        >>> Price(3, 15, cache_write=3.75).dollars(1_000_000, 0, written_tokens=400_000)
        3.3
        """
        cached = min(cached_tokens, prompt_tokens)
        written = min(written_tokens, prompt_tokens - cached)
        heard = min(heard_tokens, prompt_tokens - cached - written)
        spoken = min(spoken_tokens, completion_tokens)
        read = (prompt_tokens - cached - written - heard) * self.input + (completion_tokens - spoken) * self.output
        apart = (
            cached * _or(self.cached_input, self.input)
            + written * _or(self.cache_write, self.input)
            + heard * _or(self.audio_input, self.input)
            + spoken * _or(self.audio_output, self.output)
        )
        return (read + apart) / MILLION


def _or(price: float | None, otherwise: float) -> float:
    return otherwise if price is None else price


def price_of(prices: Mapping[str, Price], model: str) -> Price | None:
    """The price of a model or an adapter; `name` stands for every `name@digest`.

    >>> price_of({"triage": Price(1, 2)}, "triage@3f9c1a0b22de")
    Price(input=1, output=2, cached_input=None, cache_write=None, audio_input=None, audio_output=None)
    """
    return prices.get(model) or prices.get(model.partition("@")[0])
