"""Prompts for a teacher: how a sample becomes a request. Pure.

`as-is` sends what was logged. `simple` and `cot` put an instruction in front of what the user said: the answer alone, or
reasons first (chain of thought, Wei et al., arXiv:2201.11903). The user's text is sent unchanged, as the last message.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from graduand.gateway.errors import ConfigError, did_you_mean
from graduand.rollout.answers.tasks import Task
from graduand.training.data import labels
from graduand.training.data.samples import Sample

AS_IS, SIMPLE, COT = "as-is", "simple", "cot"
NAMES = (AS_IS, SIMPLE, COT)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A named way to ask; `system` is None for a sample's own messages."""

    name: str
    system: str | None = None

    @property
    def version(self) -> str:
        """Changes whenever the wording does."""
        return hashlib.sha256((self.system or "").encode()).hexdigest()[:12]


def prompt(name: str, task: Task | None, about: str) -> Prompt:
    """The built-in prompt of that name; `about` says in a sentence what the labels mean."""
    if name == AS_IS:
        return Prompt(AS_IS)
    if name not in NAMES:
        raise ConfigError(f"no prompt {name!r}; there are {', '.join(NAMES)}.{did_you_mean(name, NAMES)}")
    if task is None:
        raise ConfigError(f"the prompt {name!r} needs --task, which has the labels; or ask with --prompt {AS_IS}")
    known = labels.names(task)
    answer = " or ".join(labels.completion(task, label) for label in known)
    if task.field is None:
        last = f"one of: {', '.join(known)}"
        reasoned = f"Give your reasons, then on a line of its own exactly one of: {', '.join(known)}"
    else:
        last = f"with {answer}"
        reasoned = (
            'Answer with one JSON object of these fields in this order: "reason_for" and "reason_against" (a sentence '
            f'each), and last "{task.field}", which is {" or ".join(known)}'
        )
    ask = f"Answer {last}, and nothing else." if name == SIMPLE else f"{reasoned}."
    intro = about or f"Classify what the user says as {' or '.join(known)}."
    return Prompt(name, f"{intro}\n{ask}")


def messages(sample: Sample, how: Prompt) -> list[dict[str, str]]:
    """The request's messages."""
    if how.system is not None:
        return [{"role": "system", "content": how.system}, {"role": "user", "content": sample.text}]
    if sample.messages is not None:
        return [dict(message) for message in sample.messages]
    return [{"role": "user", "content": sample.prompt or ""}]


def messages_sha256(asked: Sequence[dict[str, str]]) -> str:
    """Identifies a request's words."""
    return hashlib.sha256(orjson.dumps(asked)).hexdigest()
