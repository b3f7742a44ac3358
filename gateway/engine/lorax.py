"""The LoRAX dialect over HTTP: native routes, and LoRAX's own rendering of the OpenAI routes.

There is no model list and no unloading; adapters are named in each request, and one that is not loaded is a 424. Unlike
LoRAX this engine never fetches an adapter because a client names it. Errors of streams are events in a 200, and native
streams have no `[DONE]`.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from graduand import __version__
from graduand.gateway.engine.adapters import LoadedAdapter
from graduand.gateway.engine.engine import Engine
from graduand.gateway.engine.lorax_protocol import (
    ChatRequest,
    CompletionRequest,
    GenerateRequest,
    Json,
    Parameters,
    Writer,
    failed,
    invalid,
    openai_chunk,
    openai_whole,
)
from graduand.gateway.engine.openai_api import CLIENT_CLOSED_REQUEST, json_response, unless_gone
from graduand.gateway.engine.sampling import Sampling
from graduand.gateway.errors import GraduandError, RequestError
from graduand.gateway.model.openai import SSE_DONE

Body = TypeVar("Body", bound=BaseModel)
Render = Callable[[Json], Any]


def native_routes(engine: Engine) -> list[BaseRoute]:
    """LoRAX's own routes, which collide with nobody's."""
    api = _LoRAX(engine)
    return [
        Route("/", api.compatible, methods=["POST"]),
        Route("/generate", api.generate, methods=["POST"]),
        Route("/generate_stream", api.generate_stream, methods=["POST"]),
        Route("/info", api.info, methods=["GET"]),
        Route("/ping", api.ping, methods=["GET"]),
        Route("/startup", api.ping, methods=["GET"]),
    ]


def routes(engine: Engine) -> list[BaseRoute]:
    """Everything that a LoRAX server has and this engine can do."""
    api = _LoRAX(engine)
    return [
        *native_routes(engine),
        Route("/v1/chat/completions", api.chat, methods=["POST"]),
        Route("/v1/completions", api.complete, methods=["POST"]),
    ]


class _Call:
    """One request on its way: what to generate and how to write the answer."""

    def __init__(self, parameters: Parameters, prompt: str | list[Any], *, stream: bool) -> None:
        self.parameters, self.prompt, self.stream = parameters, prompt, stream
        self.whole: Render = lambda native: native
        self.chunk: Render = lambda native: native
        self.closing = b""


class _LoRAX:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def compatible(self, request: Request) -> Response:
        asked = await _parse(request, GenerateRequest)
        call = _Call(asked.parameters, asked.inputs, stream=asked.stream)
        call.whole = lambda native: [native]
        return await self._answer(request, call)

    async def generate(self, request: Request) -> Response:
        asked = await _parse(request, GenerateRequest)
        return await self._answer(request, _Call(asked.parameters, asked.inputs, stream=False))

    async def generate_stream(self, request: Request) -> Response:
        asked = await _parse(request, GenerateRequest)
        return await self._answer(request, _Call(asked.parameters, asked.inputs, stream=True))

    async def chat(self, request: Request) -> Response:
        asked = await _parse(request, ChatRequest)
        return await self._openai(request, asked.parameters(), asked.messages, bool(asked.stream), chat=True)

    async def complete(self, request: Request) -> Response:
        asked = await _parse(request, CompletionRequest)
        parameters = asked.parameters()
        parameters.return_full_text = asked.echo
        return await self._openai(request, parameters, asked.prompt, bool(asked.stream), chat=False)

    async def _openai(
        self, request: Request, parameters: Parameters, prompt: str | list[Any], stream: bool, *, chat: bool
    ) -> Response:
        call = _Call(parameters, prompt, stream=stream)
        call.whole = lambda native: openai_whole(native, self._engine.name, chat=chat)
        call.chunk = lambda native: openai_chunk(native, chat=chat)
        call.closing = SSE_DONE
        return await self._answer(request, call)

    async def info(self, _: Request) -> Response:
        limits = {"max_input_length": self._engine.context - 1, "max_total_tokens": self._engine.context}
        kind = {"model_dtype": "torch.float32", "model_device_type": "cpu"}
        return json_response({"model_id": self._engine.name, **kind, **limits, "version": __version__})

    async def ping(self, _: Request) -> Response:
        return Response()

    async def _answer(self, request: Request, call: _Call) -> Response:
        if call.stream:
            return StreamingResponse(self._stream(call), media_type="text/event-stream")
        try:
            prompt, sampling, adapter = await self._prepare(call)
        except RequestError as error:
            return json_response(_error(error), error.status)
        generation = self._engine.generate([(prompt, sampling)], adapter)
        async with generation:
            choices = await unless_gone(request, generation.collect())
        if choices is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        prefix = self._engine.text_of_all(prompt) if call.parameters.return_full_text else ""
        native = self._writer(sampling).whole(choices, len(prompt), prefix, call.parameters.details)
        response = json_response(call.whole(native))
        generated = generation.usage()["completion_tokens"]
        response.headers.update(self._headers(adapter) | _counts(len(prompt), generated))
        return response

    async def _stream(self, call: _Call) -> AsyncIterator[bytes]:
        try:
            prompt, sampling, adapter = await self._prepare(call)
            writer, text, generated = self._writer(sampling), "", 0
            async with self._engine.generate([(prompt, sampling)], adapter) as generation:
                async for event in generation.events():
                    text, generated = text + event.text, generated + 1
                    yield _sse(call.chunk(writer.chunk(event, text, len(prompt), generated)))
            if call.closing:
                yield call.closing
        except RequestError as error:
            yield _sse(_error(error))
        except GraduandError as error:
            yield _sse(_error(failed(str(error))))

    async def _prepare(self, call: _Call) -> tuple[list[int], Sampling, LoadedAdapter | None]:
        call.parameters.check(stream=call.stream)
        adapter = self._adapter(call.parameters.adapter_id)
        try:
            tokens = await self._tokens(call)
        except RequestError as error:
            kind = "template_error" if error.param == "messages" else "validation"
            raise RequestError(422, error.message, kind=kind) from error
        if call.parameters.truncate:
            tokens = tokens[-call.parameters.truncate :]
        return tokens, call.parameters.sampling(len(tokens), self._engine.context), adapter

    async def _tokens(self, call: _Call) -> list[int]:
        prompt: Any = call.prompt
        if isinstance(prompt, str) and call.parameters.apply_chat_template:
            try:
                prompt = orjson.loads(prompt)
            except ValueError as error:
                raise invalid(f"`inputs` is not a list of messages: {error}") from error
        if isinstance(prompt, str):
            if not prompt:
                raise invalid("`inputs` cannot be empty")
            return await self._engine.tokens(prompt)
        return await self._engine.chat_prompt(prompt)

    def _adapter(self, name: str | None) -> LoadedAdapter | None:
        try:
            return self._engine.find(name)
        except RequestError as error:
            raise failed(f"adapter {name!r} is not loaded") from error

    def _writer(self, sampling: Sampling) -> Writer:
        return Writer(self._engine.text_of, self._engine.is_special, sampling.seed)

    def _headers(self, adapter: LoadedAdapter | None) -> dict[str, str]:
        names = {"x-model-id": self._engine.name}
        return names | {"x-adapter-id": adapter.name} if adapter else names


def _counts(prompt: int, generated: int) -> dict[str, str]:
    return {"x-prompt-tokens": str(prompt), "x-generated-tokens": str(generated)}


async def _parse(request: Request, kind: type[Body]) -> Body:
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        message = f"Failed to deserialize the JSON body into the target type: {where}: {first['msg']}"
        raise LoRAXError(invalid(message)) from error


class LoRAXError(GraduandError, ValueError):
    """A refusal that has to be written in LoRAX's shape."""

    def __init__(self, refusal: RequestError) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


async def on_error(_: Request, error: LoRAXError) -> Response:
    """The handler for LoRAXError."""
    return json_response(_error(error.refusal), error.refusal.status)


def _error(error: RequestError) -> Json:
    return {"error": error.message, "error_type": error.kind}


def _sse(body: Any) -> bytes:
    return b"data:" + orjson.dumps(body) + b"\n\n"
