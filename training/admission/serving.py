"""What a running engine says: next-token log-probabilities and whole answers, by vLLM's API.

Invariant: the adapter is left on the engine as it was found: loaded only if somebody else had loaded it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from graduand.gateway.adapters import residency
from graduand.gateway.errors import AdapterError, ConfigError
from graduand.gateway.model.routes import Replica, Upstream

ALTERNATIVES = 5
PROMPTS_A_REQUEST = 16
UNREADABLE = "\ufffd"  # what tokens of half a character are shown as: many have one text, so none can be compared


def engine_at(url: str, key: str | None = None) -> "Engine":
    """The engine at a base URL such as http://127.0.0.1:8000/v1; `key` if it asks for one."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--engine {url!r} is no URL; give its OpenAI base URL, such as http://127.0.0.1:8000/v1")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    replica = Replica(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))
    return Engine(Upstream("engine", "vllm", (replica,), key), replica)


@dataclass(frozen=True, slots=True)
class Engine:
    """One replica of an engine that speaks vLLM's API."""

    upstream: Upstream
    replica: Replica

    @property
    def url(self) -> str:
        """Its base URL."""
        return self.replica.url

    @contextlib.contextmanager
    def with_adapter(self, name: str, path: Path) -> Iterator[None]:
        """The adapter is loaded inside; outside it is what it was before."""
        before = residency.listed(self.upstream, self.replica)
        if name not in before:
            residency.load(self.upstream, name, path)
        try:
            yield
        finally:
            if name not in before:
                residency.unload(self.upstream, name)

    def base(self) -> str:
        """The base model's name."""
        models = residency.listed(self.upstream, self.replica)
        names = [name for name, entry in models.items() if not entry.get("parent")]
        if not names:
            raise AdapterError(f"{self.url} lists no base model; is it vLLM or `graduand engine`?")
        return names[0]

    def next_tokens(self, model: str, contexts: Sequence[list[int]]) -> list[dict[str, float]]:
        """For each context, a list of token ids, the likeliest next tokens' log-probabilities by their text."""
        found: list[dict[str, float]] = []
        for first in range(0, len(contexts), PROMPTS_A_REQUEST):
            part = list(contexts[first : first + PROMPTS_A_REQUEST])
            choices = self._complete(model, part, 1, ALTERNATIVES)
            for choice in choices:
                top = choice["logprobs"]["top_logprobs"][0]
                found.append({text: float(value) for text, value in top.items() if UNREADABLE not in text})
        return found

    def endings(self, model: str, prompts: Sequence[list[int]], most_tokens: int) -> list[str]:
        """How the greedy answer to each prompt ended: `stop`, or `length` if it would not."""
        found: list[str] = []
        for first in range(0, len(prompts), PROMPTS_A_REQUEST):
            part = list(prompts[first : first + PROMPTS_A_REQUEST])
            found += [str(choice["finish_reason"]) for choice in self._complete(model, part, most_tokens, None)]
        return found

    def _complete(
        self, model: str, prompts: list[list[int]], tokens: int, logprobs: int | None
    ) -> list[dict[str, Any]]:
        body = {"model": model, "prompt": prompts, "max_tokens": tokens, "temperature": 0, "logprobs": logprobs}
        given = {key: value for key, value in body.items() if value is not None}
        answer = residency.call(self.upstream, self.replica, "POST", "/completions", given)
        if answer.status_code != 200:
            raise AdapterError(f"{self.url} did not answer for {model}: {residency.reason(answer)}")
        choices: list[dict[str, Any]] = sorted(answer.json()["choices"], key=lambda choice: choice["index"])
        return choices
