"""The admin plane's adapters: put on an upstream, proven to be applied, listed, removed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from graduand.gateway.adapters import adapter, admission, lora_config, residency
from graduand.gateway.admin.calls import Body, SettingsHere, StateHere, WhoHere
from graduand.gateway.config.read import adapters_folder
from graduand.gateway.errors import AdapterError, GraduandError, RequestError, did_you_mean
from graduand.gateway.fleet import artifacts
from graduand.gateway.model.routes import Replica, Settings, Upstream
from graduand.gateway.state import places
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.places import Cell
from graduand.gateway.state.store import Registered, StateStore

router = APIRouter(tags=["adapters"])


class NewAdapter(Body):
    """An adapter to load: a folder that every replica of the upstream can read, or where to fetch it from."""

    name: str
    path: str = Field(description="a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or hub:OWNER/NAME[@REVISION]")
    upstream: str
    digest: str = Field("", description="the beginning of its digest; needed for what is fetched, here or in its name")


@router.get("/v1/adapters")
def list_adapters(state: StateHere, settings: SettingsHere) -> dict[str, Any]:
    managed = places.read(Documents(state))
    return {"adapters": [_placed(one, settings, managed.get((one.upstream, one.name))) for one in state.adapters()]}


@router.post("/v1/adapters", status_code=201)
def add_adapter(new: NewAdapter, state: StateHere, settings: SettingsHere, who: WhoHere = "api") -> dict[str, Any]:
    upstream = _upstream(new.upstream, settings)
    server = residency.server_of(upstream)
    digest = new.digest or new.name.partition("@")[2]
    path = artifacts.local(
        new.path, digest, settings.artifacts, adapters_folder(settings)
    )  # fmt: skip
    name = residency.resolve_name(new.name, path, server)
    files = adapter.read(path)
    admission.require(files)
    if upstream.slots is not None:  # where it has a place is the fleet manager's to find
        state.add_adapter(name, new.upstream, str(path.resolve()), who=who, base=files.base_model)
        return {"name": name, "upstream": new.upstream, "replicas": []}
    residency.load(upstream, name, path)
    verdicts = residency.verify(upstream, name)
    failed = [verdict for verdict in verdicts if not verdict.applied]
    if failed:
        residency.unload(upstream, name)
        raise AdapterError(f"{name} was unloaded again: on {failed[0].replica}, {failed[0].problem}")
    state.add_adapter(name, new.upstream, str(path.resolve()), who=who, base=files.base_model)
    return {"name": name, "upstream": new.upstream, "replicas": [_shown(verdict) for verdict in verdicts]}


@router.get("/v1/adapters/{name}/verify")
def verify_adapter(name: str, state: StateHere, settings: SettingsHere) -> dict[str, Any]:
    found = [one for one in state.adapters() if one.name == name]
    if not found:
        raise _no_adapter(name, state)
    verdicts = [
        _shown(verdict) for one in found for verdict in residency.verify(_upstream(one.upstream, settings), name)
    ]
    return {"name": name, "applied": all(verdict["applied"] for verdict in verdicts), "replicas": verdicts}


@router.delete("/v1/adapters/{name}")
def remove_adapter(name: str, state: StateHere, settings: SettingsHere, who: WhoHere = "api") -> dict[str, Any]:
    found = [one for one in state.adapters() if one.name == name]
    if not found:
        raise _no_adapter(name, state)
    users = [
        f"{route.name!r} (mode {route.mode})"
        for route in state.table(settings.routes).routes.values()
        if (route.incumbent is not None and route.incumbent.adapter == name)
        or (route.asked_student is not None and route.asked_student.adapter == name)
    ]
    if users:
        raise RequestError(
            409,
            f"{name} is used by the route{'s' if len(users) > 1 else ''} {', '.join(users)}; set its mode to teacher first",
            code="adapter_in_use",
        )
    managed = places.read(Documents(state))
    for one in found:
        if (one.upstream, name) not in managed:  # else the fleet manager drains it first
            residency.unload(_upstream(one.upstream, settings), name)
        state.remove_adapter(name, one.upstream, who=who)
    return {"removed": name}


def _upstream(name: str, settings: Settings) -> Upstream:
    if name not in settings.upstreams:
        hint = did_you_mean(name, settings.upstreams) or f" There are: {', '.join(settings.upstreams)}."
        raise RequestError(404, f"there is no upstream {name!r}.{hint}", param="upstream", code="upstream_not_found")
    return settings.upstreams[name]


def _no_adapter(name: str, state: StateStore) -> RequestError:
    known = [one.name for one in state.adapters()]
    hint = did_you_mean(name, known) or (f" There are: {', '.join(known)}." if known else " None was added yet.")
    return RequestError(404, f"there is no adapter {name!r}.{hint}", param="name", code="adapter_not_found")


def _placed(one: Registered, settings: Settings, cells: Mapping[str, Cell] | None) -> dict[str, Any]:
    """An adapter and where it stands: as the fleet manager says, or, where it has none, as the replicas list it."""
    upstream = settings.upstreams.get(one.upstream)
    shown = {
        "name": one.name, "upstream": one.upstream, "path": one.path, "managed": cells is not None, "base": one.base,
        **_files(Path(one.path)),
    }  # fmt: skip
    if upstream is None:
        return {**shown, "replicas": []}
    if cells is None:
        return {**shown, "replicas": [_listing(upstream, replica, one.name) for replica in upstream.replicas]}
    found = [
        {"replica": url, "state": cell.state, "since": cell.since, "listed": cell.state in ("ready", "draining")}
        | ({"problem": cell.reason} if cell.reason else {})
        for url, cell in cells.items()
    ]
    return {**shown, "replicas": found}


def _files(path: Path) -> dict[str, Any]:
    """Rank and size of an adapter's files, and what is known of its training; null where they cannot be read here."""
    try:
        files = adapter.read(path)
        rank, size = lora_config.rank(files.config), (path / adapter.WEIGHTS_FILE).stat().st_size
        training = admission.training(admission.require(files))
    except (GraduandError, OSError):
        return {"rank": None, "bytes": None, "training": None}
    return {"rank": rank, "bytes": size, "training": training}


def _listing(upstream: Upstream, replica: Replica, name: str) -> dict[str, Any]:
    try:
        there = name in residency.listed(upstream, replica)
    except GraduandError as error:
        return {"replica": replica.url, "listed": False, "state": "away", "problem": str(error)}
    return {"replica": replica.url, "listed": there, "state": "listed" if there else "missing"}


def _shown(verdict: residency.Proof) -> dict[str, Any]:
    distance = verdict.distance
    finite = None if distance is None or distance == float("inf") else round(distance, 6)
    return {
        "replica": verdict.replica, "listed": verdict.listed, "applied": verdict.applied,
        "largest_logprob_difference": finite, "problem": verdict.problem,
    }  # fmt: skip
