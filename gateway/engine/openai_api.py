"""The OpenAI dialect over HTTP, with vLLM's additions for adapters: routes; protocol and answers have the shapes.

Streams end like vLLM's: an error after the first byte is an event, and `[DONE]` follows it all the same.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from graduand.gateway.engine.answers import ChatAnswer, CompletionAnswer
from graduand.gateway.engine.engine import Engine, Generation
from graduand.gateway.engine.protocol import (
    DEFAULT_COMPLETION_TOKENS,
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    LoadAdapterRequest,
    UnloadAdapterRequest,
    bad_request,
    not_found,
    parse,
)
from graduand.gateway.engine.sampling import Sampling
from graduand.gateway.errors import AdapterError, GraduandError
from graduand.gateway.model import openai

CLIENT_CLOSED_REQUEST = 499
Answer = ChatAnswer | CompletionAnswer
Result = TypeVar("Result")


def routes(engine: Engine) -> list[BaseRoute]:
    """This dialect's routes for one engine."""
    api = _OpenAI(engine)
    return [
        Route("/v1/chat/completions", api.chat, methods=["POST"]),
        Route("/v1/completions", api.complete, methods=["POST"]),
        Route("/v1/models", api.models, methods=["GET"]),
        Route("/v1/load_lora_adapter", api.load_adapter, methods=["POST"]),
        Route("/v1/unload_lora_adapter", api.unload_adapter, methods=["POST"]),
    ]


class _OpenAI:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def chat(self, request: Request) -> Response:
        asked = parse(await request.body(), ChatRequest)
        adapter = self._engine.find(asked.model)
        asked.check()
        prompt = await self._engine.chat_prompt(asked.turns())
        sampling = asked.sampling(len(prompt), self._engine.context, self._engine.vocabulary, None)
        answer = ChatAnswer(adapter.name if adapter else self._engine.name, self._engine.text_of)
        return await self._answer(request, asked, self._engine.generate([(prompt, sampling)], adapter), answer)

    async def complete(self, request: Request) -> Response:
        asked = parse(await request.body(), CompletionRequest)
        adapter = self._engine.find(asked.model)
        asked.check()
        prompts = [await self._engine.tokens(prompt) for prompt in asked.prompts()]
        parts = [(prompt, self._completion_sampling(asked, len(prompt))) for prompt in prompts]
        answer = CompletionAnswer(adapter.name if adapter else self._engine.name, self._engine.text_of)
        if asked.echo:
            answer.echo([self._engine.text_of_all(prompt) for prompt in prompts for _ in range(asked.choices)])
        return await self._answer(request, asked, self._engine.generate(parts, adapter), answer)

    def _completion_sampling(self, asked: CompletionRequest, prompt_tokens: int) -> Sampling:
        engine = self._engine
        return asked.sampling(prompt_tokens, engine.context, engine.vocabulary, DEFAULT_COMPLETION_TOKENS)

    async def _answer(
        self, request: Request, asked: GenerationRequest, generation: Generation, answer: Answer
    ) -> Response:
        if asked.stream:
            events = _stream(generation, answer, asked)
            return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        async with generation:
            choices = await unless_gone(request, generation.collect())
        if choices is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return json_response(answer.whole(choices, generation.usage()))

    async def models(self, request: Request) -> Response:
        engine = self._engine
        base = {"id": engine.name, "root": engine.root, "parent": None, "max_model_len": engine.context}
        adapters: list[openai.Json] = [
            {"id": adapter.name, "root": adapter.path, "parent": engine.name, "max_model_len": None}
            for adapter in engine.adapters.all()
        ]
        return json_response(openai.model_list([base, *adapters]))

    async def load_adapter(self, request: Request) -> Response:
        asked = parse(await request.body(), LoadAdapterRequest)
        name, path = asked.lora_name, asked.lora_path
        if not name or not path:
            raise bad_request("Both 'lora_name' and 'lora_path' must be provided.", kind="InvalidUserInput")
        if name == self._engine.name:
            message = f"The lora adapter '{name}' conflicts with a served base model."
            raise bad_request(message, kind="InvalidUserInput")
        await asyncio.to_thread(self._load, name, path, asked.load_inplace)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    def _load(self, name: str, path: str, replace: bool) -> None:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise not_found(f"Loading lora {name} failed: No adapter found for {path}")
        try:
            loaded = self._engine.adapters.load(name, folder, replace=replace)
        except AdapterError as error:
            raise bad_request(str(error)) from error
        if loaded is None:
            raise bad_request(
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
                "'load_inplace' to True.",
                kind="InvalidUserInput",
            )

    async def unload_adapter(self, request: Request) -> Response:
        asked = parse(await request.body(), UnloadAdapterRequest)
        if not asked.lora_name:
            message = "'lora_name' needs to be provided to unload a LoRA adapter."
            raise bad_request(message, kind="InvalidUserInput")
        if not self._engine.adapters.unload(asked.lora_name):
            raise not_found(f"The lora adapter '{asked.lora_name}' cannot be found.")
        return PlainTextResponse(f"Success: LoRA adapter '{asked.lora_name}' removed successfully.")


def json_response(body: Any, status: int = 200) -> Response:
    """A JSON response, encoded by orjson."""
    return Response(orjson.dumps(body), status, media_type="application/json")


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result | None:
    """The work's result, or None as soon as the client has closed its connection."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, watching):
            task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(generation: Generation, answer: Answer, asked: GenerationRequest) -> AsyncIterator[bytes]:
    options = asked.stream_options
    with_usage = options is not None and bool(options.include_usage)
    running = options is not None and bool(options.continuous_usage_stats) and with_usage
    try:
        async with generation:
            opened = False
            async for event in generation.events():
                if not opened:
                    opened = True
                    for opening in answer.openings(generation.choices):
                        yield openai.sse(opening)
                chunk = answer.chunk(event)
                yield openai.sse(chunk | {"usage": generation.usage()} if running else chunk)
        if with_usage:
            yield openai.sse(answer.closing(generation.usage()))
    except GraduandError as error:
        message = openai.error_body(str(error), "InternalServerError", code=500)
        yield b"data: " + message + b"\n\n"
    yield openai.SSE_DONE
