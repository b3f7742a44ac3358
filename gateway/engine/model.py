"""The base model as the scheduler sees it: ragged batches of tokens in, one row of logits for each sequence out.

All tokens of a step, whichever sequence and adapter they belong to, go through every linear layer as the rows of one
matrix, so the weights are read from memory once a step; only attention runs sequence by sequence, over that sequence's
own cache. Prompt chunks and single decode steps mix freely, nothing is padded, and a sequence's numbers do not depend
on where in the batch it sits. LoRA matrices apply to contiguous runs of rows, one run for each adapter.

Invariant: `forward` is called by one thread only. At start-up the ragged path is compared with the model's own forward,
and a model whose attention is of another kind is refused. See docs/engine.md for the measurements behind this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graduand.gateway.adapters import base_model
from graduand.gateway.adapters.fitting import Layout
from graduand.gateway.engine.adapters import LoadedAdapter
from graduand.gateway.engine.layers import PackedLinear, Run, replace_linears, runs_of
from graduand.gateway.errors import ConfigError

ATTENTION = "graduand_ragged"
CACHE_STEP = 64
PROBE_TOLERANCE = 1e-2


class KVCache:
    """Keys and values of one sequence, for all layers; grows by doubling."""

    __slots__ = ("keys", "length", "values")

    def __init__(self, layers: int, heads: int, width: int, capacity: int) -> None:
        capacity = -(-max(capacity, 1) // CACHE_STEP) * CACHE_STEP
        self.keys = torch.empty(layers, heads, capacity, width)
        self.values = torch.empty(layers, heads, capacity, width)
        self.length = 0

    def reserve(self, extra: int) -> None:
        """Make room for `extra` more tokens."""
        capacity = self.keys.shape[2]
        if self.length + extra > capacity:
            self._move(max(2 * capacity, self.length + extra))

    def fork(self) -> "KVCache":
        """An independent copy, for another choice that continues the same prompt."""
        other = object.__new__(KVCache)
        other.keys, other.values, other.length = self.keys, self.values, self.length
        other._move(self.keys.shape[2])
        return other

    def _move(self, capacity: int) -> None:
        layers, heads, _, width = self.keys.shape
        for name in ("keys", "values"):
            old, new = getattr(self, name), torch.empty(layers, heads, capacity, width)
            new[:, :, : self.length] = old[:, :, : self.length]
            setattr(self, name, new)


@dataclass(slots=True)
class Span:
    """Some tokens of one sequence to run in this step; `wants_logits` if the next token is due after them."""

    tokens: list[int]
    cache: KVCache
    adapter: LoadedAdapter | None
    wants_logits: bool = True
    start: int = 0
    end: int = 0
    mask: Tensor | None = None


class RaggedModel:
    """A causal language model prepared for ragged batches, and its tokenizer."""

    def __init__(self, model: str) -> None:
        self.network, self.tokenizer = base_model.load(model)
        self.network.requires_grad_(False)
        self._check_kind(model)
        config = self.network.config
        self.context = int(config.max_position_embeddings)
        self.ends = _end_tokens(self.network, self.tokenizer)
        heads = config.num_key_value_heads or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._cache_shape = (config.num_hidden_layers, heads, width)
        self._runs: list[Run] = []
        self._probe(model)

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache for one sequence, with room for `capacity` tokens at first."""
        return KVCache(*self._cache_shape, capacity)

    @torch.inference_mode()
    def forward(self, spans: Sequence[Span]) -> list[Tensor]:
        """Run the spans' tokens, advance their caches, and return a row of logits for each span that wants one.

        Spans of one adapter must stand together; `order` sees to that.
        """
        self._place(spans)
        tokens = torch.tensor([[token for span in spans for token in span.tokens]])
        positions = torch.cat([torch.arange(span.cache.length, span.cache.length + len(span.tokens)) for span in spans])
        hidden = self.network.model(
            input_ids=tokens, position_ids=positions[None], use_cache=False, ragged_spans=spans
        ).last_hidden_state
        for span in spans:
            span.cache.length += len(span.tokens)
        last = [span.end - 1 for span in spans if span.wants_logits]
        return list(self._head(hidden[0, last]).unbind()) if last else []

    def _place(self, spans: Sequence[Span]) -> None:
        """Give each span its rows, its room in the cache and its mask; set the runs of each adapter."""
        row = 0
        for span in spans:
            count, past = len(span.tokens), span.cache.length
            span.start, span.end = row, row + count
            span.cache.reserve(count)
            if count > 1:
                span.mask = torch.ones(count, past + count, dtype=torch.bool).tril_(past)
            row = span.end
        self._runs[:] = runs_of([(span.start, span.end, span.adapter) for span in spans])

    def _check_kind(self, model: str) -> None:
        parts = ("model", "lm_head")
        if not all(hasattr(self.network, part) for part in parts):
            kind = type(self.network).__name__
            raise ConfigError(f"the embedded engine cannot run {model!r} ({kind}): it needs a Llama-like decoder")

    @torch.inference_mode()
    def _probe(self, model: str) -> None:
        """Install the ragged path and compare it with the model's own: what differs would be served wrong."""
        tokens = [(17 * i + 11) % min(self.network.config.vocab_size, 997) for i in range(12)]
        own = self.network(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
        _install_attention(self.network)
        self.layout: Layout = replace_linears(self.network, self._runs)
        self._head = PackedLinear(self.network.lm_head)
        cache = self.new_cache(len(tokens))
        for part in (tokens[:7], tokens[7:11], tokens[11:]):
            (ragged,) = self.forward([Span(part, cache, None)])
        if not torch.allclose(own, ragged, atol=PROBE_TOLERANCE, rtol=PROBE_TOLERANCE):
            raise ConfigError(f"the embedded engine cannot run {model!r}: its attention is not plain causal attention")


def order(spans: Sequence[Span]) -> list[Span]:
    """The spans with those of one adapter side by side; base first, otherwise in the given order."""
    return sorted(spans, key=lambda span: id(span.adapter) if span.adapter is not None else 0)


def _end_tokens(network: Any, tokenizer: Any) -> frozenset[int]:
    ends = network.generation_config.eos_token_id
    ids = ends if isinstance(ends, list) else [ends]
    return frozenset(token for token in [*ids, tokenizer.eos_token_id] if token is not None)


def _install_attention(network: Any) -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, _ragged_attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
    network.set_attn_implementation(ATTENTION)


def _ragged_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    ragged_spans: Sequence[Span],
    **rest: Any,
) -> tuple[Tensor, None]:
    layer = module.layer_idx
    heads, rows, width = query.shape[1:]
    groups = key.shape[1]
    result = torch.empty(rows, heads, width)
    for span in ragged_spans:
        past = span.cache.length
        total = past + span.end - span.start
        keys, values = span.cache.keys[layer], span.cache.values[layer]
        keys[:, past:total] = key[0, :, span.start : span.end]
        values[:, past:total] = value[0, :, span.start : span.end]
        asked = query[:, :, span.start : span.end]
        seen = (keys[None, :, :total], values[None, :, :total])
        if span.mask is None:
            # The query heads that share a key head are stacked as if they were positions: no key is copied.
            stacked = asked.reshape(1, groups, heads // groups, width)
            mixed = F.scaled_dot_product_attention(stacked, *seen, scale=scaling)
            result[span.start] = mixed.view(heads, width)
        else:
            mixed = F.scaled_dot_product_attention(asked, *seen, attn_mask=span.mask, scale=scaling, enable_gqa=True)
            result[span.start : span.end] = mixed[0].transpose(0, 1)
    return result[None], None
