"""The admin plane's monitors: where every detector stands, which verdicts stand, and a person's release."""

import time
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from graduand.gateway.admin.calls import Body, RolloutsHere, SettingsHere, WhoHere
from graduand.gateway.control import verdicts
from graduand.gateway.errors import RequestError
from graduand.gateway.state.documents import Documents
from graduand.monitoring.verdict import DriftVerdict, sentence

Json = dict[str, Any]


class Release(Body):
    """Why a verdict is ended."""

    why: str = Field("", max_length=1000)


router = APIRouter(prefix="/v1/monitors", tags=["monitors"])


@router.get("")
def listing(state: RolloutsHere) -> Json:
    documents = Documents(state.state)
    return {
        "monitors": list(documents.all(verdicts.DRIFT).values()),
        "verdicts": [_shown(one) for one in verdicts.standing(documents)],
    }


@router.post("/{route:path}/{monitor}/release")
def release(
    route: str, monitor: str, state: RolloutsHere, wanted: Release, settings: SettingsHere,
    who: WhoHere = "api",
) -> Json:  # fmt: skip
    documents = Documents(state.state)
    with state.transaction():
        found = next((one for one in verdicts.standing(documents, route) if one.monitor == monitor), None)
        if found is None:
            raise RequestError(
                404, f"no verdict of {monitor!r} stands on route {route!r}; see graduand monitors list",
                code="no_verdict",
            )  # fmt: skip
        why = wanted.why or "released by hand"
        verdicts.release(state, documents, settings.routes, found, time.time(), who=who, why=why)
    return {"released": monitor, "route": route}


def _shown(verdict: DriftVerdict) -> Json:
    return {**verdict.to_json(), "text": sentence(verdict)}
