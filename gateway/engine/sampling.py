"""From a row of logits to the next token, for one sequence at a time.

Invariant: a seeded sequence draws from its own generator only: its tokens do not depend on the rest of the batch.
Reported log-probabilities are those of the model before temperature and cuts, as vLLM reports them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

GREEDY_BELOW = 1e-5
LOWEST_LOGPROB = -9999.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a request asks of the choice of tokens; the defaults are vLLM's."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    n: int = 1
    logprobs: int | None = None  # how many alternatives to report; None reports nothing
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    ignore_eos: bool = False
    include_stop: bool = False

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature < GREEDY_BELOW


@dataclass(frozen=True, slots=True)
class Pick:
    """A chosen token; if asked for, its `logprob` and `top`: the chosen token, then the `asked` likeliest."""

    token: int
    logprob: float | None = None
    asked: int = 0
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Picks the tokens of one choice; `index` is the choice's number among `n`."""

    def __init__(self, sampling: Sampling, index: int) -> None:
        self._sampling = sampling
        self._counts: Counter[int] = Counter()
        self._random: torch.Generator | None = None
        if not sampling.greedy:
            self._random = torch.Generator()
            if sampling.seed is None:
                self._random.seed()
            else:
                # Neighbouring seeds give related streams in some generators, not in torch's Mersenne Twister.
                self._random.manual_seed((sampling.seed + index) % 2**63)

    @torch.inference_mode()
    def pick(self, logits: Tensor) -> Pick:
        """The next token for a row of logits, which is left unchanged."""
        token = self._choose(self._adjusted(logits))
        self._counts[token] += 1
        if self._sampling.logprobs is None:
            return Pick(token)
        return _with_logprobs(token, logits, self._sampling.logprobs)

    def _adjusted(self, logits: Tensor) -> Tensor:
        asked = self._sampling
        penalised = self._counts and (asked.frequency_penalty or asked.presence_penalty)
        if not penalised and not asked.logit_bias:
            return logits
        logits = logits.clone()
        if penalised:
            for token, count in self._counts.items():
                logits[token] -= asked.frequency_penalty * count + asked.presence_penalty
        for token, bias in asked.logit_bias.items():
            logits[token] += bias
        return logits

    def _choose(self, logits: Tensor) -> int:
        if self._random is None:
            return int(logits.argmax())
        weights = torch.softmax(logits / self._sampling.temperature, dim=-1)
        if self._sampling.top_p < 1.0 or self._sampling.top_k > 0:
            weights = _cut(weights, self._sampling.top_p, self._sampling.top_k)
        return int(torch.multinomial(weights, 1, generator=self._random))


def _cut(weights: Tensor, top_p: float, top_k: int) -> Tensor:
    """Keep the `top_k` likeliest tokens and of these the fewest that reach `top_p`; at least one stays."""
    ordered, tokens = weights.sort(descending=True, stable=True)
    if top_k > 0:
        ordered[top_k:] = 0
    total = ordered.sum()
    reached_before = ordered.cumsum(0) - ordered
    ordered[1:].masked_fill_(reached_before[1:] >= top_p * total, 0)
    return torch.zeros_like(weights).scatter_(0, tokens, ordered)


def _with_logprobs(token: int, logits: Tensor, count: int) -> Pick:
    logprobs = torch.log_softmax(logits, dim=-1)
    chosen = max(float(logprobs[token]), LOWEST_LOGPROB)
    top = {token: chosen}
    if count > 0:
        values, tokens = logprobs.topk(count)
        for other, value in zip(tokens.tolist(), values.tolist(), strict=True):
            top.setdefault(other, max(value, LOWEST_LOGPROB))
    return Pick(token, chosen, count, tuple(top.items()))
