"""What must be true before a rollout touches its route: the student can be reached and is there, and a judge that is to
compare its answers sees through planted pairs. Asks over the network."""

import httpx

from graduand.gateway.adapters import residency
from graduand.gateway.control import incumbents, trial
from graduand.gateway.errors import GraduandError
from graduand.gateway.model.routes import Replica, Route, Settings, Upstream
from graduand.gateway.state import places
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.open import open_state
from graduand.rollout.answers import tasks
from graduand.rollout.spec.spec import Spec

TIMEOUT_S = 5.0


def problems(spec: Spec, settings: Settings, served: Route | None) -> tuple[str, ...]:
    """Everything that is in the way, empty if nothing is. `served` is the route as it is served now."""
    route = settings.routes.get(spec.route)
    if route is None:
        return (f"the configuration has no route {spec.route!r} any more",)
    if route.student is None:
        return (f"route {spec.route!r} has no student: section, so it names no upstream for {spec.student}",)
    upstream = settings.upstreams[route.student.upstream]
    found = _managed(settings, upstream, spec.student)
    if found is None:
        found = [_replica(upstream, replica, spec.student) for replica in upstream.replicas]
    if served is not None:
        found.append(incumbents.problem(spec, served))
    written = spec.task or route.task
    judge = None if written is None else tasks.read(written).judge
    if judge is not None and not any(found):  # its questions cost money, so it is tried last
        found += trial.problems(judge, settings.upstreams)
    return tuple(problem for problem in found if problem)


def _managed(settings: Settings, upstream: Upstream, student: str) -> list[str] | None:
    """What is in the way of an adapter that the fleet manager places; None if it does not."""
    store = open_state(settings)
    try:
        cells = places.read(Documents(store)).get((upstream.name, student))
    finally:
        store.close()
    if cells is None:
        return None
    homes = places.belongs(cells)
    if not homes:
        return [
            f"{student} has no place on {upstream.name}: its slots are taken by adapters in service; see docs/fleet.md"
        ]
    return [
        f"{url} does not have {student} ready: {cells[url].reason or cells[url].state}"
        if cells[url].state != "ready"
        else _replica(upstream, replica, student)
        for replica in upstream.replicas
        for url in [replica.url]
        if url in homes
    ]


def _replica(upstream: Upstream, replica: Replica, student: str) -> str:
    try:
        if upstream.kind == "vllm":
            there = student in residency.listed(upstream, replica)
            return "" if there else f"{replica.url} does not have the adapter {student}; see graduand adapters add"
        # LoRAX loads an adapter at its first request, and OpenAI lists no deployment's models: only reach them.
        httpx.get(replica.url, timeout=TIMEOUT_S, trust_env=False)
    except (GraduandError, httpx.HTTPError) as error:
        return f"{replica.url} cannot be reached: {error}"
    return ""
