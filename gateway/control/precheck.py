"""What must be true before a rollout touches its route: the student can be reached and is there, and a judge that is to
compare its answers sees through planted pairs. Asks over the network."""

from graduand.gateway.adapters import residency
from graduand.gateway.control import incumbents, trial
from graduand.gateway.errors import GraduandError
from graduand.gateway.model.routes import Replica, Route, Settings, Upstream
from graduand.gateway.state import places
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.open import open_state
from graduand.monitoring.checks import written
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
    unknown = _unknown_checks(spec, route)
    if unknown:
        return unknown
    upstream = settings.upstreams[route.student.upstream]
    found = _managed(settings, upstream, spec.student)
    if found is None:
        found = [_replica(upstream, replica, spec.student) for replica in upstream.replicas]
    if served is not None:
        found.append(incumbents.problem(spec, served))
    task = spec.task or route.task
    judge = None if task is None else tasks.read(task).judge
    if judge is not None and not any(found):  # its questions cost money, so it is tried last
        found += trial.problems(judge, settings.upstreams)
    return tuple(problem for problem in found if problem)


def _unknown_checks(spec: Spec, route: Route) -> tuple[str, ...]:
    """Gates that ask for checks which the route does not have: nothing would ever be learnt of them."""
    names = [one.name for one in written.of_route(route.checks, route.task)]
    asked = {gate.signal.removeprefix("check:") for gate in spec.gates + spec.harm if gate.signal.startswith("check:")}
    there = f"its checks are {', '.join(names)}" if names else "it has no checks"
    return tuple(
        f"a gate asks for the check {one!r}, which route {route.name!r} does not have; {there}"
        for one in sorted(asked.difference(names))
    )


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
        residency.call(upstream, replica, "GET", "", timeout_s=TIMEOUT_S)
    except GraduandError as error:
        return str(error)
    return ""
