"""The admin plane's monitors: where every detector stands, which verdicts stand, and a person's release."""

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, ConfigDict, Field

from graduand.gateway.control import verdicts
from graduand.gateway.control.store.open import for_each_call
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.errors import RequestError
from graduand.gateway.model.routes import Settings
from graduand.gateway.state.documents import documents_in
from graduand.monitoring.verdict import Verdict, sentence

Json = dict[str, Any]


class Release(BaseModel):
    """Why a verdict is ended."""

    model_config = ConfigDict(extra="forbid")

    why: str = Field("", max_length=1000)


def router(settings: Callable[[], Settings]) -> APIRouter:
    """The routes below /v1/monitors."""
    monitors = APIRouter(prefix="/v1/monitors", tags=["monitors"])

    store_here = Annotated[Rollouts, Depends(for_each_call(settings))]

    @monitors.get("")
    def listing(state: store_here) -> Json:
        documents = documents_in(state.state)
        return {
            "monitors": list(documents.all(verdicts.DRIFT).values()),
            "verdicts": [_shown(one) for one in verdicts.standing(documents)],
        }

    @monitors.post("/{route:path}/{monitor}/release")
    def release(
        route: str, monitor: str, state: store_here, wanted: Release,
        who: Annotated[str, Header(alias="x-graduand-who")] = "api",
    ) -> Json:  # fmt: skip
        documents = documents_in(state.state)
        with state.transaction():
            found = next((one for one in verdicts.standing(documents, route) if one.monitor == monitor), None)
            if found is None:
                raise RequestError(
                    404, f"no verdict of {monitor!r} stands on route {route!r}; see graduand monitors list",
                    code="no_verdict",
                )  # fmt: skip
            why = wanted.why or "released by hand"
            verdicts.release(state, documents, settings().routes, found, time.time(), who=who, why=why)
        return {"released": monitor, "route": route}

    return monitors


def _shown(verdict: Verdict) -> Json:
    return {**verdict.to_json(), "text": sentence(verdict)}
