"""The recorded teacher: an OpenAI-compatible server that replays recorded answers by prompt.

It stands where a user would put OpenAI, in the demo and in tests. Answers are replayed whole, whatever `max_tokens` or
`stop` say; `n` repeats them. Usage counts words and other visible characters (gateway/recorded/recordings.py), the same every
time; a streamed answer sends one such piece a chunk. Must never make up an answer, and must never crash: any input gets
an answer in OpenAI's shapes.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from graduand.gateway import address
from graduand.gateway.errors import RequestError
from graduand.gateway.model.openai import SSE_DONE, Json, error_body, model_list, new_id, sse, usage
from graduand.gateway.recorded.recordings import Recordings, content_text, count_tokens, messages_problem, pieces, read

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

MOST_BODY_BYTES = 8 << 20
MOST_CHOICES = 128
SHOWN_PROMPT = 80


@dataclass(frozen=True, slots=True)
class Reply:
    """Everything that an answer's shape depends on; `answers` has one text a choice."""

    chat: bool
    model: str
    answers: tuple[str, ...]
    usage: Json
    stream: bool
    include_usage: bool

    def head(self, chunk: bool) -> Json:
        """The fields that every body or chunk of one answer shares."""
        kind = "text_completion" if not self.chat else "chat.completion.chunk" if chunk else "chat.completion"
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {"id": new_id(prefix), "object": kind, "created": int(time.time()), "model": self.model}


def reply_to(recordings: Recordings, body: Json, *, chat: bool) -> Reply:
    """Find the answer to one request; raise RequestError if it is malformed or has no recorded answer."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "must be a non-empty string")
    stream = _flag(body, "stream")
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise _wrong("stream_options", "must be an object")
    if options and not stream:
        raise _wrong("stream_options", "is only allowed when 'stream' is true")
    prompts, found = _chat(recordings, model, body) if chat else _completion(recordings, model, body)
    answers = tuple(answer for answer in found for _ in range(_choices(body)))
    counted = usage(sum(map(count_tokens, prompts)), sum(map(count_tokens, answers)))
    return Reply(chat, model, answers, counted, stream, _flag(options, "include_usage"))


def _chat(recordings: Recordings, model: str, body: Json) -> tuple[list[str], list[str]]:
    messages = body.get("messages")
    if problem := messages_problem(messages):
        raise _wrong("messages", problem)
    assert isinstance(messages, list)
    texts = [content_text(message.get("content")) for message in messages]
    answer = recordings.chat_answer(model, messages)
    if answer is None:
        raise _unknown(texts[-1], "messages", orjson.dumps({"messages": messages, "answer": "..."}).decode())
    return texts, [answer]


def _completion(recordings: Recordings, model: str, body: Json) -> tuple[list[str], list[str]]:
    given = body.get("prompt")
    prompts = [given] if isinstance(given, str) else given
    if not isinstance(prompts, list) or not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise _wrong("prompt", "must be a string or a non-empty list of strings (tokens have no recorded answer)")
    answers = []
    for prompt in prompts:
        answer = recordings.text_answer(model, prompt)
        if answer is None:
            raise _unknown(prompt, "prompt", orjson.dumps({"text": prompt, "answer": "..."}).decode())
        answers.append(answer)
    return prompts, answers


def _flag(body: Json, name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, "must be true or false")
    return bool(value)


def _choices(body: Json) -> int:
    value = body.get("n")
    if value is None:
        return 1
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_CHOICES:
        raise _wrong("n", f"must be a whole number from 1 to {MOST_CHOICES}")
    return value


def _wrong(param: str, problem: str) -> RequestError:
    return RequestError(400, f"'{param}' {problem}.", param=param)


def _unknown(prompt: str, param: str, line: str) -> RequestError:
    shown = prompt if len(prompt) <= SHOWN_PROMPT else prompt[:SHOWN_PROMPT] + "…"
    line = line if len(line) <= 4 * SHOWN_PROMPT else line[: 4 * SHOWN_PROMPT] + "…"
    return RequestError(
        404,
        f"No answer is recorded for this prompt ({shown!r}). To add one, append a line to the file given with "
        f"--answers and restart the recorded teacher: {line}",
        param=param,
        code="no_recorded_answer",
    )


def whole(reply: Reply) -> Json:
    """The body of an answer that is not streamed."""
    choices = [{"index": index, **_part(reply, text), "logprobs": None, "finish_reason": "stop"}
               for index, text in enumerate(reply.answers)]  # fmt: skip
    return {**reply.head(chunk=False), "choices": choices, "usage": reply.usage}


def _part(reply: Reply, text: str) -> Json:
    return {"message": {"role": "assistant", "content": text, "refusal": None}} if reply.chat else {"text": text}


def events(reply: Reply) -> Iterator[bytes]:
    """A streamed answer's events: role, pieces and finish of each choice, usage if asked for, `[DONE]`."""
    head: Json = reply.head(chunk=True)
    if reply.include_usage:
        head["usage"] = None  # as OpenAI: null on every chunk but the last
    for index, text in enumerate(reply.answers):
        for part, reason in _parts(reply.chat, text):
            choice = {"index": index, **part, "logprobs": None, "finish_reason": reason}
            yield sse({**head, "choices": [choice]})
    if reply.include_usage:
        yield sse({**head, "choices": [], "usage": reply.usage})
    yield SSE_DONE


def _parts(chat: bool, text: str) -> Iterator[tuple[Json, str | None]]:
    if chat:
        yield {"delta": {"role": "assistant", "content": ""}}, None
    for piece in pieces(text):
        yield ({"delta": {"content": piece}} if chat else {"text": piece}), None
    yield ({"delta": {}} if chat else {"text": ""}), "stop"


async def _read_body(request: "Request") -> Json:
    content = bytearray()
    async for block in request.stream():
        content += block
        if len(content) > MOST_BODY_BYTES:
            raise RequestError(413, f"The body is larger than {MOST_BODY_BYTES} bytes.", code="request_too_large")
    try:
        body = orjson.loads(content)
    except ValueError as error:
        raise RequestError(400, f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise RequestError(400, "The body must be a JSON object.")
    return body


def app(recordings: Recordings) -> "Starlette":
    """The server's application."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    async def answer(request: "Request") -> "Response":
        reply = reply_to(recordings, await _read_body(request), chat=request.url.path.endswith("/chat/completions"))
        if not reply.stream:
            return Response(orjson.dumps(whole(reply)), media_type="application/json")
        return StreamingResponse(_aiter(events(reply)), media_type="text/event-stream")

    async def models(request: "Request") -> "Response":
        listed = [{"id": name} for name in recordings.models or {"recorded": None}]
        return Response(orjson.dumps(model_list(listed)), media_type="application/json")

    async def health(request: "Request") -> "Response":
        return Response(orjson.dumps({"status": "ok", "answers": len(recordings)}), media_type="application/json")

    async def refused(request: "Request", error: Exception) -> "Response":
        status, content = _error(request.url.path, error)
        return Response(content, status_code=status, media_type="application/json")

    return Starlette(
        routes=[
            Route("/v1/chat/completions", answer, methods=["POST"]),
            Route("/v1/completions", answer, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ],
        exception_handlers=dict.fromkeys((RequestError, HTTPException, ClientDisconnect, Exception), refused),
    )


def _error(path: str, error: Exception) -> tuple[int, bytes]:
    if isinstance(error, RequestError):
        return error.status, error_body(error.message, error.kind, param=error.param, code=error.code)
    status = getattr(error, "status_code", None)
    if status is None:
        return 500, error_body(f"The recorded teacher failed: {error!r}.", "server_error")
    served = "POST /v1/chat/completions, POST /v1/completions, GET /v1/models, GET /health"
    return status, error_body(f"{path} cannot be called so; this server has {served}.", "invalid_request_error")


async def _aiter(parts: Iterator[bytes]) -> Any:
    # An async generator keeps Starlette from handing each chunk to a thread.
    for part in parts:
        yield part


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `graduand recorded-teacher`."""
    parser = commands.add_parser("recorded-teacher", help="replay recorded answers as an OpenAI-compatible server")
    parser.add_argument(
        "--answers", type=Path, required=True, metavar="FILE.jsonl", help="recorded answers, one a line"
    )
    parser.add_argument("--listen", default="127.0.0.1:8001", metavar="HOST:PORT", help="default: %(default)s")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    import uvicorn

    host, port = address.parse(arguments.listen, "--listen")
    recordings = read(arguments.answers)
    listener = address.listen(host, port, "--listen")
    server = uvicorn.Server(
        uvicorn.Config(app(recordings), log_level="error", access_log=False, timeout_graceful_shutdown=2)
    )

    def stop(signal_number: int, frame: Any) -> None:
        # uvicorn raises the signal again once it has shut down; ending then is success, not death by signal.
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    replaced = f", {recordings.replaced} replaced by a later record" if recordings.replaced else ""
    sys.stdout.write(f"recorded teacher: http://{address.show(listener)}/v1, {len(recordings)} answers{replaced}\n")
    sys.stdout.flush()
    server.run(sockets=[listener])
    return 0
