"""The student before any training: the base model asked with the teacher's prompt.

Greedy, a few tokens, on the processor. Heavy: it loads the base and reads whole prompts, so it is asked about a few rows.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from graduand.gateway.adapters import base_model
from graduand.rollout.answers.answers import Label
from graduand.rollout.answers.compare import label_of
from graduand.rollout.answers.tasks import Task
from graduand.training.data.samples import Sample
from graduand.training.stages.parts import Parts
from graduand.training.stages.progress import Progress
from graduand.training.teacher import prompts

MOST_NEW_TOKENS = 24
MOST_PROMPT_TOKENS = 1024


class Student:
    """The base model, loaded when the first question comes."""

    def __init__(self, base: str, progress: Progress) -> None:
        self._base = base
        self._progress = progress
        self._loaded: tuple[Any, Any] | None = None

    def answer(self, messages: list[dict[str, str]]) -> str:
        """Its raw answer, greedy."""
        if self._loaded is None:
            self._progress.say(f"loading {self._base} for the zero-shot student")
            self._loaded = base_model.load(self._base)
        model, tokenizer = self._loaded
        return _answer(model, tokenizer, messages)


def answers(base: str, samples: Sequence[Sample], how: prompts.Prompt, parts: Parts, progress: Progress) -> list[str]:
    """The base's raw answers; each is kept, since it takes seconds."""
    student = Student(base, progress)
    texts = []
    for done, sample in enumerate(samples, 1):
        asked = prompts.messages(sample, how)
        texts.append(str(parts.once(f"zero-shot/{prompts.messages_sha256(asked)}", partial(student.answer, asked))))
        progress.step(done, len(samples), "zero-shot")
    return texts


def _answer(model: Any, tokenizer: Any, messages: list[dict[str, str]]) -> str:
    import torch

    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    # The end of a long prompt has the request for an answer: its middle is the user's, so that is what gives way.
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) > MOST_PROMPT_TOKENS:
        ids = ids[: MOST_PROMPT_TOKENS // 2] + ids[-MOST_PROMPT_TOKENS // 2 :]
    inputs = torch.tensor([ids])
    with torch.inference_mode():
        out = model.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=MOST_NEW_TOKENS,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
    return str(tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True))


def read(task: Task, raw: Sequence[str]) -> list[str | None]:
    """The labels of raw answers; None where there is none to read."""
    found = (label_of(task, text) for text in raw)
    return [label.value if isinstance(label, Label) else None for label in found]
