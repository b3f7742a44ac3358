"""Tokens and mask: which tokens of a row the loss sees.

Invariant: the prompt's tokens are exactly those that a server makes of the same request; the loss sees the completion's
tokens and the token that ends the turn, and nothing else. The two parts are tokenised apart, because a server never
merges a prompt's last token with the first one that it generates.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graduand.training.data.rows import DataError, Row

IGNORED = -100  # torch's cross_entropy skips this label
_PROBE = "graduand"


@dataclass(frozen=True, slots=True)
class Example:
    """A row as tokens: `ids[start:]` is what the loss sees."""

    id: str
    ids: tuple[int, ...]
    start: int
    truncated: bool = False
    weight: float = 1.0

    @property
    def labels(self) -> tuple[int, ...]:
        """`ids` with the prompt masked out."""
        return (IGNORED,) * self.start + self.ids[self.start :]


@dataclass(frozen=True, slots=True)
class Examples:
    """What became of the rows: `cut` lost the end of their completion, `left_out` (ids) had no room for any of it."""

    kept: tuple[Example, ...]
    cut: int
    left_out: tuple[str, ...]
    longest: int


def turn_end(tokenizer: Any) -> int:
    """The token that ends the assistant's turn in the base's chat template: the one that servers stop at."""
    if not tokenizer.chat_template:
        return int(tokenizer.eos_token_id)
    chat = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}]
    text: str = tokenizer.apply_chat_template(chat, tokenize=False)
    tail = tokenizer(text[text.rindex(_PROBE) + len(_PROBE) :], add_special_tokens=False)["input_ids"]
    if not tail or tail[0] != tokenizer.eos_token_id:
        # Trained on any other token, the student would never stop: servers wait for eos.
        raise DataError(
            "the base's chat template does not end the assistant's turn with its eos token "
            f"{tokenizer.eos_token!r}; set eos_token in the base's tokenizer_config.json to the template's turn end"
        )
    return int(tail[0])


def prompt_ids(row: Row, tokenizer: Any) -> list[int]:
    """The prompt as a server tokenises it: a chat through the template, a text as it is."""
    if row.messages is None:
        return list(tokenizer(row.prompt)["input_ids"])
    if not tokenizer.chat_template:
        raise DataError(f"row {row.id}: the base has no chat template; give 'prompt' in place of 'messages'")
    try:
        text = tokenizer.apply_chat_template(list(row.messages), add_generation_prompt=True, tokenize=False)
    except Exception as error:  # templates raise whatever their author chose
        raise DataError(f"row {row.id}: the base's chat template refuses its messages: {error}") from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def completion_ids(text: str, tokenizer: Any, end: int) -> list[int]:
    """The completion and the end of the turn. Text that looks like a special token stays text, and ends no turn."""
    return [*tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"], end]


def tokenise(
    rows: Iterable[Row], tokenizer: Any, max_tokens: int, weights: Mapping[str, float] | None = None
) -> Examples:
    """All rows as examples of at most `max_tokens` tokens; counts what did not fit. `weights` by the rows' ids."""
    end = turn_end(tokenizer)
    kept: list[Example] = []
    left_out: list[str] = []
    longest = 0
    for row in rows:
        prompt = prompt_ids(row, tokenizer)
        if not prompt:
            raise DataError(f"row {row.id}: its prompt has no tokens")
        ids = prompt + completion_ids(row.completion, tokenizer, end)
        longest = max(longest, len(ids))
        if len(prompt) >= max_tokens:
            left_out.append(row.id)
        else:
            weight = 1.0 if weights is None else weights[row.id]
            kept.append(Example(row.id, tuple(ids[:max_tokens]), len(prompt), len(ids) > max_tokens, weight))
    return Examples(tuple(kept), sum(example.truncated for example in kept), tuple(left_out), longest)


def check_truncation(examples: Examples, max_tokens: int, limit: float) -> None:
    """Refuse data of which more than the share `limit` did not fit: its completions' ends would go unlearned."""
    rows = len(examples.kept) + len(examples.left_out)
    lost = examples.cut + len(examples.left_out)
    if lost > limit * rows or not examples.kept:
        raise DataError(
            f"{lost} of {rows} rows are longer than max_tokens={max_tokens} ({examples.cut} completions cut, "
            f"{len(examples.left_out)} prompts without room for one; the longest row has {examples.longest} tokens): "
            f"raise max_tokens, shorten the rows, or allow it with truncated_limit (a share; now {limit})"
        )


def trained_text(example: Example, tokenizer: Any) -> str:
    """What the loss sees of `example`, decoded: for a person to check, and for tests."""
    return decode(example.ids[example.start :], tokenizer)


def decode(ids: Sequence[int], tokenizer: Any) -> str:
    """Tokens as text, special tokens shown."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
