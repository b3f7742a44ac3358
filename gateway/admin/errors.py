"""Errors of the admin plane: every one in OpenAI's shape, as the data plane's."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from graduand.gateway.adapters import residency
from graduand.gateway.admin.calls import Body
from graduand.gateway.control.store.rollouts import NoRollout
from graduand.gateway.errors import AdapterError, ConfigError, GraduandError, RequestError, did_you_mean
from graduand.gateway.fleet import artifacts
from graduand.gateway.logs import feedback
from graduand.gateway.logs.target import TargetError
from graduand.gateway.model.openai import error_body
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.store import Conflict
from graduand.rollout.transitions import IllegalEvent, StaleVersion


class Problem(BaseModel):
    """What is wrong: `message` says it in words, `code` is for programs, `param` is the field that it is about."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every error, in OpenAI's shape."""

    error: Problem


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "what was asked for makes no sense"},
    404: {"model": ErrorBody, "description": "there is no such thing"},
    405: {"model": ErrorBody, "description": "a name with a slash in it made this another path"},
    409: {"model": ErrorBody, "description": "not now, or not at this version"},
    422: {"model": ErrorBody, "description": "the request does not have the form described here"},
    502: {"model": ErrorBody, "description": "an upstream cannot be reached"},
}


def handle(application: FastAPI) -> None:
    """Let every error of the application have OpenAI's shape."""

    def answer(status: int, message: str, code: str | None, param: str | None = None) -> Response:
        kind = "invalid_request_error" if status < 500 else "server_error"
        return Response(error_body(message, kind, param=param, code=code), status, media_type="application/json")

    statuses: dict[type[Exception], tuple[int, str]] = {
        Conflict: (409, "version_conflict"),
        feedback.NotStored: (503, "not_stored"),
        AdapterError: (400, "adapter_refused"),
        ConfigError: (400, "invalid_value"),
        IllegalEvent: (409, "not_possible_now"),
        StaleVersion: (409, "version_conflict"),
        NoRollout: (404, "rollout_not_found"),
        residency.UpstreamUnreachable: (502, "upstream_unreachable"),
        artifacts.NotFetched: (502, "not_fetched"),
        TargetError: (502, "not_fetched"),
        StateError: (503, "state_unavailable"),
        GraduandError: (500, "failed"),
    }

    def handler(status: int, code: str) -> Callable[[Request, Exception], Awaitable[Response]]:
        async def handle(_: Request, error: Exception) -> Response:
            return answer(status, str(error), code)

        return handle

    for kind, (status, code) in statuses.items():
        application.add_exception_handler(kind, handler(status, code))

    @application.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> Response:
        return answer(error.status, error.message, error.code, error.param)

    @application.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        message = f"{field}: {first['msg']}" if field else str(first["msg"])
        if first["type"] == "extra_forbidden":
            bodies: tuple[type[BaseModel], ...] = (*Body.__subclasses__(), feedback.NewFeedback)
            known = {name for body in bodies for name in body.model_fields}
            message = f"unknown field {field!r}.{did_you_mean(field, known)}"
        return answer(422, message, "invalid_request", field or None)

    @application.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        hint = "; the API is described at /docs" if error.status_code == 404 else ""
        return answer(error.status_code, f"{error.detail}{hint}", "http_error")
