"""LoRAX's requests and answers, quirks included: see `lorax` for the routes.

Quirks kept on purpose, since clients and gateways have to live with them: ids are "null", a whole chat answer says
`text_completion`, chunks say model "null" and created 0, a stop sequence is reported as `content_filter` in the OpenAI
shapes, and the stop sequence stays in the text.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field

from graduand.gateway.engine.sampling import Sampling
from graduand.gateway.engine.scheduler import Event
from graduand.gateway.errors import RequestError

Json = dict[str, Any]
MAX_STOPS = 4
MAX_BEST_OF = 8
OPENAI_REASONS = {"eos_token": "stop", "length": "length", "stop_sequence": "content_filter"}


def invalid(message: str) -> RequestError:
    """LoRAX's 422."""
    return RequestError(422, f"Input validation error: {message}", kind="validation")


def failed(message: str) -> RequestError:
    """LoRAX's 424, which is also what an adapter that cannot be loaded gives."""
    return RequestError(424, f"Request failed during generation: {message}", kind="generation")


class Parameters(BaseModel):
    """GenerateParameters."""

    adapter_id: str | None = None
    adapter_source: str | None = None
    merged_adapters: dict[str, Any] | None = None
    best_of: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    do_sample: bool = False
    max_new_tokens: int | None = None
    ignore_eos_token: bool = False
    return_full_text: bool | None = None
    stop: list[str] = []
    truncate: int | None = None
    details: bool = False
    return_k_alternatives: int | None = None
    apply_chat_template: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**64)] | None = None

    def check(self, *, stream: bool) -> None:
        """Raise RequestError as LoRAX's validation does."""
        if self.adapter_id and self.merged_adapters is not None:
            raise invalid("at most one of `adapter_id` or `merged_adapters` may be provided")
        if self.merged_adapters is not None:
            raise invalid("`merged_adapters` is not supported by this engine")
        if self.best_of is not None and not 1 <= self.best_of <= MAX_BEST_OF:
            raise invalid(f"`best_of` must be > 0 and <= {MAX_BEST_OF}. Given: {self.best_of}")
        if self.choices > 1 and (stream or not self.samples):
            what = "when streaming tokens" if stream else "without sampling"
            raise invalid(f"`best_of` > 1 is not supported {what}")
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            raise invalid("`temperature` must be positive")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise invalid("`top_p` must be > 0.0 and <= 1.0")
        if self.top_k is not None and self.top_k <= 0:
            raise invalid("`top_k` must be strictly positive")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise invalid("`max_new_tokens` must be strictly positive")
        if len(self.stop) > MAX_STOPS or not all(self.stop):
            raise invalid(f"`stop` supports up to {MAX_STOPS} stop sequences. Given: {len(self.stop)}")
        if self.return_k_alternatives is not None and not 0 < self.return_k_alternatives <= 20:
            raise invalid("`return_k_alternatives` must be > 0 and <= 20")

    @property
    def choices(self) -> int:
        """How many answers compete to be returned."""
        return self.best_of or 1

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn; LoRAX is greedy unless something asks for chance."""
        if self.temperature == 0:
            return False
        return self.do_sample or any(value is not None for value in (self.temperature, self.top_k, self.top_p))

    def sampling(self, prompt_tokens: int, context: int) -> Sampling:
        """The scheduler's view."""
        if prompt_tokens >= context:
            raise invalid(f"`inputs` must have less than {context} tokens. Given: {prompt_tokens}")
        room = context - prompt_tokens
        if self.max_new_tokens is not None and self.max_new_tokens > room:
            raise invalid(
                f"`inputs` tokens + `max_new_tokens` must be <= {context}. Given: {prompt_tokens} `inputs` tokens and "
                f"{self.max_new_tokens} `max_new_tokens`"
            )
        return Sampling(
            max_tokens=self.max_new_tokens or room,
            temperature=(self.temperature or 1.0) if self.samples else 0.0,
            top_p=self.top_p or 1.0,
            top_k=self.top_k or 0,
            seed=self.seed,
            n=self.choices,
            logprobs=self.return_k_alternatives or 0,
            stop=tuple(self.stop),
            ignore_eos=self.ignore_eos_token,
            include_stop=True,
        )


class GenerateRequest(BaseModel):
    """POST / , /generate and /generate_stream; only the first looks at `stream`."""

    inputs: str
    parameters: Parameters = Parameters()
    stream: bool = False


class OpenAIRequest(BaseModel):
    """What LoRAX's two OpenAI routes understand; `stop` must be a list there, and `n` means best_of."""

    model: str
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    n: int | None = None
    max_tokens: int | None = None
    stop: list[str] = []
    stream: bool | None = False
    seed: int | None = None
    ignore_eos_token: bool | None = False

    def parameters(self) -> Parameters:
        """The native parameters that LoRAX maps these to."""
        return Parameters(
            adapter_id=self.model,
            best_of=self.n,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            do_sample=self.n is not None,
            max_new_tokens=self.max_tokens,
            stop=self.stop,
            seed=self.seed,
            ignore_eos_token=bool(self.ignore_eos_token),
            details=True,
        )


class ChatRequest(OpenAIRequest):
    """POST /v1/chat/completions."""

    messages: list[dict[str, Any]]


class CompletionRequest(OpenAIRequest):
    """POST /v1/completions."""

    prompt: str
    echo: bool | None = False


class Writer:
    """Writes native answers; `text_of` names a token, `ends` are the tokens that end an answer."""

    def __init__(self, text_of: Callable[[int], str], special: Callable[[int], bool], seed: int | None) -> None:
        self._text_of, self._special, self._seed = text_of, special, seed

    def whole(self, choices: Sequence[Sequence[Event]], prompt_tokens: int, prefix: str, details: bool) -> Json:
        """The likeliest of the choices; with the others in the details if there are several."""
        ranked = sorted(choices, key=_likelihood, reverse=True)
        answer: Json = {"generated_text": prefix + _joined(ranked[0])}
        if details:
            answer["details"] = {"prompt_tokens": prompt_tokens, **self._sequence(ranked[0])}
            if len(ranked) > 1:
                answer["details"]["best_of_sequences"] = [
                    {"generated_text": prefix + _joined(other), **self._sequence(other)} for other in ranked[1:]
                ]
        return answer

    def _sequence(self, events: Sequence[Event]) -> Json:
        return {
            "finish_reason": native_reason(events[-1]),
            "generated_tokens": len(events),
            "seed": self._seed,
            "prefill": [],
            "tokens": [self.token(event) for event in events],
        }

    def token(self, event: Event) -> Json:
        """One token, with its alternatives if they were asked for."""
        pick = event.pick
        assert pick is not None
        special = self._special(pick.token)
        token: Json = {
            "id": pick.token,
            "text": self._text_of(pick.token) if special else event.text,
            "logprob": pick.logprob,
            "special": special,
        }
        if pick.asked:
            token["alternative_tokens"] = [
                {"id": other, "text": self._text_of(other), "logprob": value} for other, value in pick.top[: pick.asked]
            ]
        return token

    def chunk(self, event: Event, so_far: str, prompt_tokens: int, generated: int) -> Json:
        """One event of a native stream; the last one carries the whole text and the details."""
        details = None
        if event.finish_reason is not None:
            details = {
                "finish_reason": native_reason(event),
                "prompt_tokens": prompt_tokens,
                "generated_tokens": generated,
                "seed": self._seed,
            }
        return {"token": self.token(event), "generated_text": so_far if details else None, "details": details}


def native_reason(event: Event) -> str:
    """LoRAX's word for how an answer ended."""
    if event.finish_reason == "length":
        return "length"
    return "stop_sequence" if event.stop_reason is not None else "eos_token"


def _joined(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events)


def _likelihood(events: Sequence[Event]) -> float:
    return sum((event.pick.logprob or 0.0) for event in events if event.pick is not None) / max(len(events), 1)


def openai_usage(details: Json | None) -> Json:
    """Usage in LoRAX's order of fields; zero before the end of a stream."""
    prompt, generated = (details["prompt_tokens"], details["generated_tokens"]) if details else (0, 0)
    return {"prompt_tokens": prompt, "total_tokens": prompt + generated, "completion_tokens": generated}


def openai_whole(native: Json, model: str, *, chat: bool) -> Json:
    """A native answer in OpenAI's shape, as LoRAX writes it."""
    details = native["details"]
    text = native["generated_text"]
    body: Json = {"message": {"role": "assistant", "content": text}} if chat else {"text": text, "logprobs": None}
    choice = {"index": 0, **body, "finish_reason": OPENAI_REASONS[details["finish_reason"]]}
    head = {"id": "null", "object": "text_completion", "created": 0, "model": model}
    return {**head, "choices": [choice], "usage": openai_usage(details)}


def openai_chunk(native: Json, *, chat: bool) -> Json:
    """A native stream event in OpenAI's shape: zero usage on every completion chunk, usage on chat's last one only."""
    details = native["details"]
    reason = OPENAI_REASONS[details["finish_reason"]] if details else None
    text = native["token"]["text"]
    kind = "chat.completion.chunk" if chat else "text_completion"
    chunk: Json = {"id": "null", "object": kind, "created": 0, "model": "null"}
    if chat:
        delta = {"role": None, "content": None} if reason == "stop" else {"role": "assistant", "content": text}
        chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": reason}]
        return chunk | {"usage": openai_usage(details)} if details else chunk
    shown = "" if reason == "stop" else text
    chunk["choices"] = [{"index": 0, "text": shown, "logprobs": None, "finish_reason": reason}]
    return chunk | {"usage": openai_usage(details)}
