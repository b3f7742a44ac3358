"""The admin plane's view of the state store: whether it is there, who serves by what, and taking a new one for it."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from graduand.gateway.admin.calls import Body, SettingsHere, WhoHere
from graduand.gateway.control.store.rollouts import LEASE
from graduand.gateway.errors import RequestError
from graduand.gateway.model.routes import Settings
from graduand.gateway.state import places as fleet
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.open import open_state
from graduand.gateway.state.store import NothingLost

Json = dict[str, Any]


class Acceptance(Body):
    """Why an emptied or another Redis is taken for the store."""

    why: str = Field("", max_length=1000)


router = APIRouter(prefix="/v1/state", tags=["state"])


@router.get("")
def state(settings: SettingsHere) -> Json:
    return _shown(settings)


@router.post("/accept")
def accept(acceptance: Acceptance, settings: SettingsHere, who: WhoHere = "api") -> Json:
    store = open_state(settings)
    try:
        return {"accepted": True, "routes": store.accept(who, acceptance.why)}
    except NothingLost as error:
        raise RequestError(409, str(error), code="nothing_lost") from error
    finally:
        store.close()


def _shown(settings: Settings) -> Json:
    shown: Json = {"state": settings.state, "up": False, "problem": None, "version": None, "replica": None,
                   "workers": {}, "leader": None, "manager": None}  # fmt: skip
    store = open_state(settings)
    try:
        shown["replica"] = store.replica
        shown["version"] = store.version()
        shown["workers"] = store.served()
        holder, _, until = store.lease(LEASE)
        shown["leader"] = holder if store.now() < until else None
        manager, _, until = store.lease(fleet.LEASE)
        shown["manager"] = manager if store.now() < until else None
        shown["up"] = True
    except StateError as error:
        shown["problem"] = str(error)
    finally:
        store.close()
    return shown
