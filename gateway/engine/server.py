"""The engine's HTTP server: the dialects' routes, health, metrics, errors, start and end.

The port is bound before the model is loaded, so that a mistake shows at once. Connections are refused until all is
ready.
"""

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http import HTTPStatus
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from graduand import __version__
from graduand.gateway import address
from graduand.gateway.engine import lorax, openai_api
from graduand.gateway.engine.engine import Engine
from graduand.gateway.errors import GraduandError, RequestError
from graduand.gateway.model import openai

GRACE_S = 3
DIALECTS: dict[str, tuple[Callable[[Engine], list[Any]], ...]] = {
    "openai": (openai_api.routes,),
    "lorax": (lorax.routes,),
    "both": (openai_api.routes, lorax.native_routes),  # the OpenAI routes that both have are vLLM's
}


def app(engine: Engine, dialect: str = "openai") -> Starlette:
    """The ASGI application; the engine runs while the application does."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.start()
        try:
            yield
        finally:
            engine.stop()

    async def health(_: Request) -> Response:
        return Response()

    async def version(_: Request) -> Response:
        return openai_api.json_response({"version": __version__})

    async def metrics(_: Request) -> Response:
        return Response(engine.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    own = [Route("/health", health), Route("/version", version), Route("/metrics", metrics)]
    routes = [route for make in DIALECTS[dialect] for route in make(engine)]
    handlers: Any = {
        lorax.LoRAXError: lorax.on_error,
        RequestError: _refused,
        HTTPException: _http_error,
        Exception: _crashed,
    }
    return Starlette(routes=[*own, *routes], lifespan=lifespan, exception_handlers=handlers)


def _error(status: int, message: str, kind: str, param: str | None = None) -> Response:
    body = openai.error_body(message, kind, param=param, code=status)
    return Response(body, status, media_type="application/json")


async def _refused(_: Request, error: RequestError) -> Response:
    return _error(error.status, error.message, error.kind, error.param)


async def _http_error(_: Request, error: HTTPException) -> Response:
    return _error(error.status_code, error.detail, HTTPStatus(error.status_code).phrase)


async def _crashed(_: Request, error: Exception) -> Response:
    message = str(error) if isinstance(error, GraduandError) else "the engine failed to answer this request"
    return _error(500, message, "InternalServerError")


class Server(uvicorn.Server):
    """uvicorn, ended by a signal without dying of it, and with one line on standard output when it is ready."""

    def __init__(self, engine: Engine, dialect: str) -> None:
        super().__init__(
            uvicorn.Config(
                app(engine, dialect), log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S
            )
        )
        self._engine = engine

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            adapters = ", ".join(adapter.name for adapter in self._engine.adapters.all()) or "none"
            sys.stdout.write(
                f"engine on http://{address.show(sockets[0])}: model {self._engine.name}, adapters: {adapters}\n"
            )
            sys.stdout.flush()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
