"""The scheduler: one thread that owns the model and advances every running request by one step at a time.

Requests join at any step and leave as soon as they end, are cancelled or fail. A step feeds one token of every sequence
that is generating and, within a budget, pieces of the prompts that are still being read, so neither a long answer nor a
long prompt holds up the others. Waiting requests start in the order of arrival as sequences become free.

Invariant: every request ends with exactly one event that has a finish reason or an error for each of its choices,
unless it was cancelled. The thread never dies of a request: an unexpected error ends the requests of that step.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from graduand.gateway.engine.adapters import LoadedAdapter
from graduand.gateway.engine.detokenizer import Detokenizer
from graduand.gateway.engine.metrics import Metrics
from graduand.gateway.engine.model import KVCache, RaggedModel, Span, order
from graduand.gateway.engine.sampling import Pick, Sampler, Sampling
from graduand.gateway.engine.stops import StopFilter

log = logging.getLogger(__name__)

# Prompt tokens in a step: few while others generate (each costs them about 1.5 ms on one core), more otherwise.
PROMPT_BUDGET_SHARED = 48
PROMPT_BUDGET_ALONE = 128
FIRST_CAPACITY = 128  # tokens of answer that a cache has room for before it must grow


@dataclass(frozen=True, slots=True)
class Event:
    """One token of one choice and the text it released; the last event of a choice has a finish reason."""

    choice: int
    text: str = ""
    pick: Pick | None = None
    finish_reason: str | None = None
    stop_reason: str | None = None
    error: str | None = None

    def renumbered(self, first: int) -> "Event":
        """The same event where the choices are counted from `first`."""
        return replace(self, choice=first + self.choice)


@dataclass(eq=False)
class Job:
    """A request as the scheduler sees it. `deliver` is called from the scheduler's thread and must not block."""

    prompt: Sequence[int]
    sampling: Sampling
    adapter: LoadedAdapter | None
    deliver: Callable[[list[Event]], None]
    arrived: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    last_token_at: float | None = None


class _Sequence:
    """One choice of a job that is running. The first choice reads the prompt; its siblings fork from it."""

    __slots__ = ("cache", "index", "job", "pending", "sampler", "stops", "text", "tokens")

    def __init__(self, job: Job, index: int, cache: KVCache, backend: object) -> None:
        self.job, self.index, self.cache = job, index, cache
        self.pending = list(job.prompt) if index == 0 else []
        self.sampler = Sampler(job.sampling, index)
        self.stops = StopFilter(job.sampling.stop, include=job.sampling.include_stop)
        self.text = Detokenizer(backend, job.prompt)
        self.tokens = 0

    @property
    def reads_prompt(self) -> bool:
        return self.tokens == 0


class Scheduler:
    """Owns the model while it runs; `submit` and `cancel` may be called from any thread."""

    def __init__(self, model: RaggedModel, metrics: Metrics, *, max_sequences: int) -> None:
        self._model, self._metrics, self._max_sequences = model, metrics, max_sequences
        self._backend = model.tokenizer.backend_tokenizer
        self._waiting: deque[Job] = deque()
        self._running: list[_Sequence] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="graduand-engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way; what is unfinished gets an error event."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()
        self._count()

    def cancel(self, job: Job) -> None:
        """Drop a job before the next step; harmless if it has ended."""
        with self._changed:
            job.cancelled = True
            self._changed.notify()

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not (self._stopping or self._running or self._waiting):
                    self._changed.wait()
                if self._stopping:
                    break
                self._drop_cancelled()
                self._admit()
            self._count()
            if not self._running:
                continue
            try:
                self._step()
            except Exception:
                log.exception("a step failed; its requests are answered with an error")
                self._fail_all("the engine failed to run this request")
            self._count()
        self._fail_all("the engine is shutting down")

    def _drop_cancelled(self) -> None:
        cancelled = {id(s.job) for s in self._running if s.job.cancelled}
        cancelled |= {id(job) for job in self._waiting if job.cancelled}
        if cancelled:
            self._running = [s for s in self._running if not s.job.cancelled]
            self._waiting = deque(job for job in self._waiting if not job.cancelled)
            self._metrics.finished("abort", len(cancelled))

    def _admit(self) -> None:
        """Start waiting jobs in order; a job with more choices than there are places runs alone."""
        while self._waiting:
            job = self._waiting[0]
            if self._running and len(self._running) + job.sampling.n > self._max_sequences:
                return
            self._waiting.popleft()
            capacity = len(job.prompt) + min(job.sampling.max_tokens, FIRST_CAPACITY)
            cache = self._model.new_cache(capacity)
            self._running += [_Sequence(job, index, cache, self._backend) for index in range(job.sampling.n)]

    def _step(self) -> None:
        planned = self._plan()
        started = [sequence for sequence, span in planned if span.wants_logits]
        rows = iter(self._run(planned))
        events: dict[Job, list[Event]] = {}
        for sequence in started:
            logits = next(rows)
            for one in self._with_siblings(sequence):
                events.setdefault(one.job, []).append(self._advance(one, logits))
        self._running = [s for s in self._running if s.tokens >= 0]
        for job, news in events.items():
            self._observe(job, len(news))
            job.deliver(news)

    def _plan(self) -> list[tuple[_Sequence, Span]]:
        """What each sequence feeds in this step."""
        reading = [s for s in self._running if s.reads_prompt and s.index == 0]
        planned = [(s, Span(s.pending, s.cache, s.job.adapter)) for s in self._running if not s.reads_prompt]
        budget = PROMPT_BUDGET_SHARED if planned else PROMPT_BUDGET_ALONE
        # The shortest first, and what each leaves of its even share goes to the longer ones.
        reading.sort(key=lambda s: len(s.pending))
        for done, sequence in enumerate(reading):
            piece = sequence.pending[: max(1, budget // (len(reading) - done))]
            budget = max(0, budget - len(piece))
            complete = len(piece) == len(sequence.pending)
            planned.append((sequence, Span(piece, sequence.cache, sequence.job.adapter, complete)))
        return planned

    def _run(self, planned: list[tuple[_Sequence, Span]]) -> list[Tensor]:
        """The logits of the spans that want some, in the order planned."""
        spans = order([span for _, span in planned])
        logits = self._model.forward(spans)
        by_span = dict(zip((id(span) for span in spans if span.wants_logits), logits, strict=True))
        for sequence, span in planned:
            sequence.pending = sequence.pending[len(span.tokens) :]
        return [by_span[id(span)] for _, span in planned if span.wants_logits]

    def _with_siblings(self, sequence: _Sequence) -> list[_Sequence]:
        """The sequence and, when it has just read the prompt, the other choices, each with a copy of the cache."""
        if not sequence.reads_prompt:
            return [sequence]
        self._metrics.prompt_read(len(sequence.job.prompt), time.monotonic() - sequence.job.arrived)
        family = [s for s in self._running if s.job is sequence.job]
        for sibling in family[1:]:
            sibling.cache = sequence.cache.fork()
        return family

    def _advance(self, sequence: _Sequence, logits: Tensor) -> Event:
        """Pick the next token and decide whether the choice ends with it."""
        sampling = sequence.job.sampling
        pick = sequence.sampler.pick(logits)
        sequence.tokens += 1
        sequence.pending = [pick.token]
        if pick.token in self._model.ends and not sampling.ignore_eos:
            return self._end(sequence, pick, sequence.stops.finish(), "stop")
        text = sequence.stops.push(sequence.text.push(pick.token))
        if sequence.stops.matched is not None:
            return self._end(sequence, pick, text, "stop", sequence.stops.matched)
        if sequence.tokens >= sampling.max_tokens:
            return self._end(sequence, pick, text + sequence.stops.finish(), "length")
        return Event(sequence.index, text, pick)

    def _end(self, sequence: _Sequence, pick: Pick, text: str, reason: str, stop: str | None = None) -> Event:
        sequence.tokens = -1  # marks it for removal at the end of the step
        self._metrics.finished(reason)
        return Event(sequence.index, text, pick, reason, stop)

    def _observe(self, job: Job, tokens: int) -> None:
        now = time.monotonic()
        self._metrics.generated(tokens, None if job.last_token_at is None else now - job.last_token_at)
        job.last_token_at = now

    def _fail_all(self, reason: str) -> None:
        with self._changed:
            left = {s.job: [t.index for t in self._running if t.job is s.job] for s in self._running}
            if self._stopping:
                left |= {job: list(range(job.sampling.n)) for job in self._waiting}
                self._waiting.clear()
            self._running = []
        for job, choices in left.items():
            job.deliver([Event(choice, finish_reason="error", error=reason) for choice in choices])
        self._metrics.finished("error", len(left))
        self._count()

    def _count(self) -> None:
        with self._changed:
            running = [(id(s.job), s.job.adapter) for s in self._running]
            waiting = [job.adapter for job in self._waiting]
            self._metrics.load(
                running=len({job for job, _ in running}),
                waiting=len(waiting),
                running_adapters=sorted({a.name for _, a in running if a is not None}),
                waiting_adapters=sorted({a.name for a in waiting if a is not None}),
                cached_tokens=sum(s.cache.length for s in self._running),
            )
