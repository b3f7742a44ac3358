"""A student asked in this process: base and adapter by transformers in float32, in batches of similar lengths.

A label is read from the logits of the token at which the labels' completions part: one pass a row, and probabilities
besides. Other answers are generated greedily. Prompts are those that a server makes of the same request (training/fit/mask.py);
the middle of one longer than MOST_PROMPT_TOKENS gives way, which is counted.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from graduand.gateway.adapters import base_model
from graduand.rollout.answers.tasks import Task
from graduand.training.data import labels
from graduand.training.data.rows import DataError, Row
from graduand.training.data.samples import Sample
from graduand.training.evaluation.answers import Answer
from graduand.training.fit import mask
from graduand.training.stages.progress import Progress

MOST_PROMPT_TOKENS = 1024
BATCH_TOKENS = 3000


class Student:
    """A base with an adapter, or alone (`adapter` None)."""

    def __init__(self, base: str, adapter: Path | None, threads: int) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._model, self._tokenizer = base_model.load(base)
        if adapter is not None:
            from peft import PeftModel

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._model = PeftModel.from_pretrained(self._model, adapter).merge_and_unload()
        self._model.eval()
        self._end = mask.turn_end(self._tokenizer)
        self.cut = 0

    def label_answers(self, task: Task, samples: Sequence[Sample], progress: Progress) -> list[Answer]:
        """The likeliest label of each sample, with all labels' probabilities."""
        import torch

        names = labels.names(task)
        spelled = [tuple(self._completion(labels.completion(task, name))) for name in names]
        shared, tokens = parting(spelled)
        prompts = [(*self._prompt(sample), *shared) for sample in samples]
        found: dict[int, Answer] = {}
        with torch.inference_mode():
            for batch in alike([len(prompt) for prompt in prompts], BATCH_TOKENS):
                logits = self._last_logits([prompts[place] for place in batch])[:, list(tokens)].float().softmax(-1)
                for place, shares in zip(batch, logits.tolist(), strict=True):
                    by_label = dict(zip(names, shares, strict=True))
                    best = max(by_label, key=lambda name: by_label[name])
                    found[place] = Answer(labels.completion(task, best), by_label)
                progress.step(len(found), len(samples), "asked")
        return [found[place] for place in range(len(samples))]

    def text_answers(self, samples: Sequence[Sample], most_tokens: int, progress: Progress) -> list[Answer]:
        """Greedy answers."""
        import torch

        found = []
        for done, sample in enumerate(samples, 1):
            prompt = torch.tensor([self._prompt(sample)])
            out = self._model.generate(
                input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=most_tokens, do_sample=False,
                pad_token_id=self._tokenizer.pad_token_id,
            )  # fmt: skip
            text = self._tokenizer.decode(out[0, prompt.shape[1] :], skip_special_tokens=True)
            found.append(Answer(str(text)))
            progress.step(done, len(samples), "asked")
        return found

    def loss(self, sample: Sample, wanted: str) -> tuple[float, int]:
        """Of the wanted answer: the sum of its tokens' cross-entropies, and how many they are."""
        import torch

        prompt, completion = self._prompt(sample), [*self._completion(wanted), self._end]
        ids = torch.tensor([[*prompt, *completion]])
        with torch.inference_mode():
            logits = self._model(input_ids=ids, logits_to_keep=len(completion) + 1, use_cache=False).logits[0, :-1]
            picked = logits.float().log_softmax(-1)[range(len(completion)), completion]
            return -float(picked.sum()), len(completion)

    def _last_logits(self, prompts: Sequence[Sequence[int]]) -> Any:
        """The next token's logits of each prompt, padded on the left."""
        import torch

        width = max(map(len, prompts))
        gaps = [width - len(prompt) for prompt in prompts]
        rows = list(zip(gaps, prompts, strict=True))
        inputs = {
            "input_ids": [[self._tokenizer.pad_token_id] * gap + list(prompt) for gap, prompt in rows],
            "attention_mask": [[0] * gap + [1] * len(prompt) for gap, prompt in rows],
            "position_ids": [[0] * gap + list(range(len(prompt))) for gap, prompt in rows],
        }
        tensors = {name: torch.tensor(values) for name, values in inputs.items()}
        return self._model(**tensors, logits_to_keep=1, use_cache=False).logits[:, -1]

    def _prompt(self, sample: Sample) -> list[int]:
        ids = mask.prompt_ids(Row(sample.id, "-", sample.messages, sample.prompt), self._tokenizer)
        if len(ids) > MOST_PROMPT_TOKENS:
            self.cut += 1
            ids = ids[: MOST_PROMPT_TOKENS // 2] + ids[-MOST_PROMPT_TOKENS // 2 :]
        return ids

    def _completion(self, text: str) -> list[int]:
        return mask.completion_ids(text, self._tokenizer, self._end)[:-1]


def parting(completions: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that all completions begin with, and the next one of each, by which they differ.

    >>> parting([(1, 2, 7, 9), (1, 2, 8)])
    ((1, 2), (7, 8))
    """
    size = 0
    while all(len(each) > size for each in completions) and len({each[size] for each in completions}) == 1:
        size += 1
    after = tuple(each[size] for each in completions if len(each) > size)
    if len(set(after)) < len(completions):
        raise DataError(
            "these labels cannot be told apart by one token of the base; ask through --endpoint, or rename the labels"
        )
    return completions[0][:size], after


def alike(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places of similar lengths, at most `most` a batch once all are as long as the longest; a longer one is alone.

    >>> list(alike([5, 1, 9, 2], 6))
    [[1, 3], [0], [2]]
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda each: lengths[each]):
        if batch and (len(batch) + 1) * lengths[place] > most:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
