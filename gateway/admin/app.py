"""The admin plane: routes, adapters, rollouts and metrics over HTTP, on a port of its own. `/docs` has its OpenAPI page.

FastAPI, because nothing here is on a request's path. One router a noun, each a module beside this one.
"""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Response
from pydantic import Field

from graduand import __version__
from graduand.gateway.admin import adapters, errors, feedback, monitors, pages, review, rollouts, routes, state
from graduand.gateway.admin.calls import Configuration, ConfigurationHere, StateHere
from graduand.monitoring.metrics import exposition

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ROUTERS = (
    routes.router,
    adapters.router,
    rollouts.router,
    feedback.router,
    review.router,
    monitors.router,
    pages.router,
    state.router,
)

router = APIRouter()


def app(configuration: Configuration) -> FastAPI:
    """The admin application."""
    application = FastAPI(title="Graduand admin plane", version=__version__, responses=errors.ERRORS)
    application.state.configuration = configuration
    application.state.desk = feedback.Desk()
    application.state.labels = review.LabelDesk()
    errors.handle(application)
    for one in (router, *ROUTERS):
        application.include_router(one)
    return application


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Whether this process answers."""
    return {"status": "ok"}


@router.get("/metrics")
def metrics(configuration: ConfigurationHere) -> Response:
    """What every process of this gateway counts, in Prometheus' text format."""
    return Response(exposition(configuration.totals), media_type=CONTENT_TYPE)


@router.get("/v1/events")
def events(state: StateHere, limit: Annotated[int, Field(ge=1, le=1000)] = 100) -> dict[str, Any]:
    return {"events": state.events(limit)}
