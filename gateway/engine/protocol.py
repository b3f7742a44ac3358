"""Requests of the OpenAI dialect as vLLM takes them: parsed, checked, and turned into what the scheduler needs.

Unknown fields are ignored. Whatever is wrong raises RequestError, worded as vLLM words it, with vLLM's types.
"""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graduand.gateway.engine.sampling import Sampling
from graduand.gateway.errors import RequestError

MAX_TOP_LOGPROBS = 20
MAX_CHOICES = 64
MOST_ERRORS = 10
LONGEST_ERROR_INPUT = 200
DEFAULT_COMPLETION_TOKENS = 16

Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Tokens = list[Annotated[int, Field(ge=0)]]


def bad_request(message: str, param: str | None = None, *, kind: str = "BadRequestError") -> RequestError:
    """A 400 as vLLM shapes it."""
    return RequestError(400, message, kind=kind, param=param)


def not_found(message: str, param: str | None = None) -> RequestError:
    """A 404 as vLLM shapes it."""
    return RequestError(404, message, kind="NotFoundError", param=param)


class StreamOptions(BaseModel):
    """OpenAI's stream_options, with vLLM's usage on every chunk."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class Message(BaseModel):
    """One turn; other fields of OpenAI's messages reach the chat template untouched."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[dict[str, Any]] | None = None


class GenerationRequest(BaseModel):
    """What both endpoints share."""

    model: str | None = None
    max_tokens: int | None = None
    n: int | None = 1
    seed: Seed | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return 1 if self.n is None else self.n

    @property
    def wanted_tokens(self) -> int | None:
        """The most tokens of an answer, if the request sets a limit."""
        return self.max_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        """How many alternatives to report with each token; None for no log-probabilities at all."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise RequestError for values that are well-typed and still wrong."""
        if self.stream_options is not None and not self.stream:
            raise bad_request("Stream options can only be defined when `stream=True`.", "stream_options")
        if self.choices < 1:
            raise bad_request(f"n must be at least 1, got {self.choices}.", "n")
        if self.choices > MAX_CHOICES:
            raise bad_request(f"n must be at most {MAX_CHOICES}, got {self.choices}.", "n")
        if self.wanted_tokens is not None and self.wanted_tokens < 1:
            raise bad_request(f"max_tokens must be at least 1, got {self.wanted_tokens}.", "max_tokens")
        self._check_ranges()
        if any(not stop for stop in self._stops()):
            raise bad_request("stop cannot contain an empty string.", "stop")
        top = self.wanted_logprobs
        if top is not None and top > MAX_TOP_LOGPROBS:
            raise bad_request(
                f"Requested sample logprobs of {top}, which is greater than max allowed: {MAX_TOP_LOGPROBS}", "logprobs"
            )

    def _check_ranges(self) -> None:
        temperature = 1.0 if self.temperature is None else self.temperature
        if not temperature >= 0.0:
            raise bad_request(f"temperature must be non-negative, got {temperature}.", "temperature")
        if temperature > 2.0:
            raise bad_request(f"temperature must be in [0, 2], got {temperature}.", "temperature")
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise bad_request(f"top_p must be in (0, 1], got {self.top_p}.", "top_p")
        if self.top_k is not None and self.top_k < -1:
            raise bad_request(f"top_k must be 0 (disable), or at least 1, got {self.top_k}.", "top_k")
        for name in ("presence_penalty", "frequency_penalty"):
            value = getattr(self, name)
            if value is not None and not -2.0 <= value <= 2.0:
                raise bad_request(f"{name} must be in [-2, 2], got {value}.", name)
        if temperature == 0.0 and self.choices > 1:
            raise bad_request(f"n must be 1 when using greedy sampling, got {self.choices}.", "n")

    def _stops(self) -> list[str]:
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def sampling(self, prompt_tokens: int, context: int, vocabulary: int, default_tokens: int | None) -> Sampling:
        """The scheduler's view, for a prompt of that length; raises RequestError if the context cannot hold it."""
        if prompt_tokens >= context:
            raise bad_request(
                f"This model's maximum context length is {context} tokens. However, your prompt contains "
                f"{prompt_tokens} input tokens, which exceeds this limit even without any output tokens. "
                "Please reduce the length of the input prompt.",
                "input_tokens",
            )
        wanted = self.wanted_tokens if self.wanted_tokens is not None else default_tokens
        if wanted is not None and wanted > context:
            raise bad_request(
                f"max_tokens={wanted} cannot be greater than max_model_len={context} (this model's maximum context "
                "length). Please request fewer output tokens.",
                "max_tokens",
            )
        room = context - prompt_tokens
        return Sampling(
            max_tokens=room if wanted is None else min(wanted, room),
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=max(self.top_k or 0, 0),
            seed=None if self.seed == -1 else self.seed,
            n=self.choices,
            logprobs=self.wanted_logprobs,
            stop=tuple(self._stops()),
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            logit_bias=self._bias(vocabulary),
            ignore_eos=self.ignore_eos,
            include_stop=self.include_stop_str_in_output,
        )

    def _bias(self, vocabulary: int) -> dict[int, float]:
        try:
            bias = {int(token): min(100.0, max(-100.0, value)) for token, value in (self.logit_bias or {}).items()}
        except ValueError as error:
            raise bad_request("logit_bias must map token ids to numbers.", "logit_bias") from error
        outside = [token for token in bias if not 0 <= token < vocabulary]
        if outside:
            raise bad_request(f"token_id(s) {outside} in logit_bias contain out-of-vocab token ids.", "logit_bias")
        return bias


class ChatRequest(GenerationRequest):
    """POST /v1/chat/completions."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None

    @property
    def wanted_tokens(self) -> int | None:
        """max_completion_tokens, or the older max_tokens."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        """top_logprobs if logprobs are asked for."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def check(self) -> None:
        """Also checks messages, top_logprobs and tools."""
        super().check()
        if not self.messages:
            raise bad_request("messages must contain at least one message.", "messages")
        if self.top_logprobs is not None and self.top_logprobs < 0:
            raise bad_request("`top_logprobs` must be a positive value or -1.", "top_logprobs")
        if self.top_logprobs and not self.logprobs:
            raise bad_request("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
        if self.tools and self.tool_choice != "none":
            choice = self.tool_choice if isinstance(self.tool_choice, str) else "auto"
            raise bad_request(f'"{choice}" tool choice is not supported by this engine', "tool_choice")

    def turns(self) -> list[dict[str, Any]]:
        """The messages with text contents, as chat templates expect them."""
        return [{**message.model_dump(), "content": _text(message)} for message in self.messages]


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    prompt: str | list[str] | Tokens | list[Tokens] | None = None
    logprobs: int | None = None
    echo: bool | None = False
    suffix: str | None = None

    @property
    def wanted_logprobs(self) -> int | None:
        """The number itself; 0 reports the chosen token only."""
        return self.logprobs

    def check(self) -> None:
        """Also checks prompt, logprobs, suffix and echo."""
        super().check()
        if not self.prompt:
            raise bad_request("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
        if any(not prompt for prompt in self.prompts()):
            raise bad_request("The decoder prompt cannot be empty", "prompt")
        if self.logprobs is not None and self.logprobs < 0:
            raise bad_request("`logprobs` must be a positive value or -1.", "logprobs")
        if self.suffix is not None:
            raise bad_request("suffix is not currently supported", "suffix")
        if self.echo and self.logprobs is not None:
            raise bad_request("`echo` with `logprobs` is not supported by this engine", "echo")

    def prompts(self) -> list[str | list[int]]:
        """The prompts, one or several, as text or tokens."""
        prompt = self.prompt
        if prompt is None:
            return []
        if isinstance(prompt, str):
            return [prompt]
        if prompt and isinstance(prompt[0], int):
            return [[token for token in prompt if isinstance(token, int)]]
        return [one for one in prompt if not isinstance(one, int)]


class LoadAdapterRequest(BaseModel):
    """POST /v1/load_lora_adapter."""

    lora_name: str
    lora_path: str
    load_inplace: bool = False


class UnloadAdapterRequest(BaseModel):
    """POST /v1/unload_lora_adapter."""

    lora_name: str


Body = TypeVar("Body", bound=BaseModel)


def parse(body: bytes, kind: type[Body]) -> Body:
    """Read a JSON body; raise RequestError, worded as vLLM's validation errors are."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        lines = "".join(f"  {_describe(one)}\n" for one in found[:MOST_ERRORS])
        label = "error" if len(found) == 1 else "errors"
        where = ".".join(["body", *_place(found[0]["loc"])])
        message = f"{len(found)} validation {label}:\n{lines}".rstrip()
        raise bad_request(message, where, kind="Bad Request") from error


def _describe(error: Any) -> dict[str, Any]:
    given = error.get("input")
    given = given.decode(errors="replace") if isinstance(given, bytes) else str(given)
    short = given if len(given) <= LONGEST_ERROR_INPUT else given[:LONGEST_ERROR_INPUT] + "...[truncated]"
    return {"type": error["type"], "loc": ("body", *_place(error["loc"])), "msg": error["msg"], "input": short}


def _place(location: tuple[int | str, ...]) -> list[str]:
    """The field's path without the names that pydantic gives to the branches of a union."""
    branches = {"str", "int", "float", "bool"}
    return [str(part) for part in location if str(part) not in branches and "[" not in str(part)]


def _text(message: Message) -> str:
    if message.content is None:
        return ""
    if isinstance(message.content, str):
        return message.content
    texts = [part.get("text") if part.get("type") in ("text", "input_text") else None for part in message.content]
    if not all(isinstance(text, str) for text in texts):
        raise bad_request("this model takes text only: every content part must be of type 'text'", "messages")
    return "\n".join(str(text) for text in texts)
