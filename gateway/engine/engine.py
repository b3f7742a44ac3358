"""The engine behind every dialect: model, adapters and scheduler, with an asyncio face.

A dialect turns a request into prompts and a Sampling, asks for a Generation, and reads its events. Invariant: a
generation that is left early, for whatever reason, is cancelled and frees its place.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from graduand.gateway.engine.adapters import AdapterTable, LoadedAdapter
from graduand.gateway.engine.metrics import Metrics
from graduand.gateway.engine.model import RaggedModel
from graduand.gateway.engine.protocol import bad_request, not_found
from graduand.gateway.engine.sampling import Sampling
from graduand.gateway.engine.scheduler import Event, Job, Scheduler
from graduand.gateway.errors import AdapterError, GraduandError
from graduand.gateway.model.openai import usage

Part = tuple[Sequence[int], Sampling]  # a prompt and what is asked of its answer


class EngineFailure(GraduandError, RuntimeError):
    """The engine could not finish a request that was in order."""


class Generation:
    """The running answer to one request: one or more prompts, `n` choices each, numbered through."""

    def __init__(self, scheduler: Scheduler, parts: Sequence[Part], adapter: LoadedAdapter | None) -> None:
        self._scheduler = scheduler
        self._news: asyncio.Queue[list[Event]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._prompt_tokens = sum(len(prompt) for prompt, _ in parts)
        self._tokens = 0
        self._jobs: list[Job] = []
        self.choices = 0
        for prompt, sampling in parts:
            self._jobs.append(Job(prompt, sampling, adapter, partial(self._deliver, self.choices)))
            self.choices += sampling.n

    async def __aenter__(self) -> Self:
        for job in self._jobs:
            self._scheduler.submit(job)
        return self

    async def __aexit__(self, *_: object) -> None:
        for job in self._jobs:
            self._scheduler.cancel(job)

    async def events(self) -> AsyncIterator[Event]:
        """Every event of every choice as it happens; raises EngineFailure if the engine gives up."""
        open_choices = self.choices
        while open_choices:
            for event in await self._news.get():
                if event.error is not None:
                    raise EngineFailure(event.error)
                self._tokens += event.pick is not None
                open_choices -= event.finish_reason is not None
                yield event

    async def collect(self) -> list[list[Event]]:
        """All events, by choice."""
        choices: list[list[Event]] = [[] for _ in range(self.choices)]
        async for event in self.events():
            choices[event.choice].append(event)
        return choices

    def usage(self) -> dict[str, Any]:
        """The tokens so far; a prompt counts once however many choices continue it."""
        return usage(self._prompt_tokens, self._tokens)

    def _deliver(self, first: int, events: list[Event]) -> None:
        """Called by the scheduler's thread: pass the events on to the event loop."""
        numbered = [event.renumbered(first) for event in events] if first else events
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.put_nowait, numbered)


class Engine:
    """A base model with its adapters, ready to answer."""

    def __init__(self, model: str, *, name: str | None = None, max_sequences: int = 16, context: int | None = None):
        self.name = name or model
        self.root = model
        self._model = RaggedModel(model)
        self.context = min(context or self._model.context, self._model.context)
        self.adapters = AdapterTable(self._model.layout, self._model.tokenizer)
        self.metrics = Metrics(self.name, max_sequences=max_sequences, context=self.context)
        self._scheduler = Scheduler(self._model, self.metrics, max_sequences=max_sequences)
        self._tokenizer = self._model.tokenizer
        self._backend = self._tokenizer.backend_tokenizer
        self.vocabulary = self._model.network.config.vocab_size
        self._special = frozenset(self._tokenizer.all_special_ids)
        self._longest_token = max(len(token) for token in self._backend.get_vocab())

    def start(self) -> None:
        """Start the scheduler."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop it; requests under way end with an error."""
        self._scheduler.stop()

    def load_adapter(self, name: str, path: str) -> LoadedAdapter:
        """Load at start-up; raises AdapterError if the adapter does not fit or the name is taken."""
        if name == self.name:
            raise AdapterError(f"adapter name {name!r} is the base model's own; choose another")
        loaded = self.adapters.load(name, Path(path).expanduser())
        if loaded is None:
            raise AdapterError(f"adapter {name!r} is given twice")
        return loaded

    def find(self, model: str | None) -> LoadedAdapter | None:
        """The adapter that a request's `model` names, None for the base; raises RequestError if it is neither."""
        if not model or model == self.name:
            return None
        if adapter := self.adapters.get(model):
            return adapter
        raise not_found(f"The model `{model}` does not exist.", "model")

    def generate(self, parts: Sequence[Part], adapter: LoadedAdapter | None) -> Generation:
        """A generation, to be entered with `async with`."""
        return Generation(self._scheduler, parts, adapter)

    async def chat_prompt(self, turns: list[dict[str, Any]]) -> list[int]:
        """The tokens of a chat under the base's template, ready for the assistant's turn."""
        try:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # the template is the model authors' program and may raise anything
            raise bad_request(f"the model's chat template refuses these messages: {error}", "messages") from error
        return await self.tokens(text, special=False)

    async def tokens(self, prompt: str | list[int], *, special: bool = True) -> list[int]:
        """The prompt as tokens of this model."""
        if isinstance(prompt, list):
            outside = [token for token in prompt if token >= self.vocabulary]
            if outside:
                raise bad_request(f"Token id {outside[0]} is out of vocabulary", "prompt")
            return prompt
        longest = self.context * self._longest_token
        if len(prompt) > longest:
            raise bad_request(
                f"This model's maximum context length is {self.context} tokens. However, your prompt contains "
                f"{len(prompt)} characters (more than {longest} characters, which is the upper bound for "
                f"{self.context} input tokens). Please reduce the length of the input prompt.",
                "input_text",
            )
        # The bare tokenizer: transformers' own call changes shared settings and is not safe beside the scheduler.
        encoding = await asyncio.to_thread(self._backend.encode, prompt, add_special_tokens=special)
        return list(encoding.ids)

    def text_of(self, token: int) -> str:
        """One token's text, special tokens included, for reports of log-probabilities."""
        return self.text_of_all([token])

    def text_of_all(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return str(self._backend.decode(list(tokens), skip_special_tokens=False))

    def is_special(self, token: int) -> bool:
        """Whether the token is a mark of the model's own rather than text."""
        return token in self._special
