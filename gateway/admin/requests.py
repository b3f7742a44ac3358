"""What the rollouts API accepts: pydantic at the edge, refused where it could never work."""

from typing import Any, Self

from pydantic import Field, model_validator

from graduand.gateway.admin.calls import Body
from graduand.gateway.config.explain import about_judge
from graduand.gateway.control import incumbents
from graduand.gateway.errors import ConfigError, RequestError, did_you_mean
from graduand.gateway.model.routes import Route, Settings
from graduand.rollout.answers import tasks
from graduand.rollout.answers.tasks import Task
from graduand.rollout.spec import file as specfile
from graduand.rollout.spec.spec import Spec

# Simulated requests a second over all runs of one call.
MOST_SIMULATED_PER_S = 20


class NewRollout(Body):
    """A rollout to start, as its file has it."""

    spec: dict[str, Any]
    why: str = Field("", max_length=1000)
    key: str = Field("", max_length=200, description="the same key again starts nothing new")


class Nothing(Body):
    """A body, be it `{}`: a page of another site cannot send JSON."""


class Verb(Body):
    """One verb. With `version` it is refused unless the rollout is still at that version."""

    version: int | None = None
    why: str = Field("", max_length=1000)
    key: str = Field("", max_length=200, description="the same key again does nothing more")
    full: bool = Field(False, description="promote only: past all steps at once")


class Plan(Body):
    """A rollout to think about."""

    spec: dict[str, Any]
    requests_per_s: float | None = Field(None, gt=0, description="default: as the log's end has it")
    agreement: float | None = Field(None, gt=0, lt=1, description="the agreement to reckon with")


class Simulation(Body):
    """A rollout to play through."""

    spec: dict[str, Any]
    agreement: float = Field(0.98, gt=0, lt=1)
    separation: float = Field(2.0, ge=0, le=100, description="how well the student's confidence tells; 0: not at all")
    error_rate: float = Field(0.01, ge=0, lt=1)
    error_ratio: float = Field(1.0, ge=0)
    requests_per_s: float = Field(1.0, gt=0, le=1000)
    runs: int = Field(5, ge=1, le=20, description="each may take seconds; the command plays as many as you like")
    seed: int = 7

    @model_validator(mode="after")
    def bounded(self) -> Self:
        """A run costs as much as it has requests, and the admin plane must stay at hand."""
        if self.runs * self.requests_per_s > MOST_SIMULATED_PER_S:
            raise ValueError(
                f"runs times requests_per_s may be at most {MOST_SIMULATED_PER_S} here; "
                "`graduand rollout simulate` plays as much as you like"
            )
        return self


def startable(data: dict[str, Any], settings: Settings) -> tuple[Spec, dict[str, Any]]:
    """The resolved specification and its task; raise ConfigError or RequestError if it could never work here."""
    spec = specfile.read(data)
    route = settings.routes.get(spec.route)
    asked = spec.task or (None if route is None else route.task)
    if asked is not None and asked.get("kind") == "text" and "gates" not in data:
        spec = specfile.read({**data, "gates": ["score"]})  # no two free texts agree: a judge says which is better
    if route is None:
        hint = did_you_mean(spec.route, settings.routes) or f" There are: {', '.join(settings.routes)}."
        raise RequestError(404, f"there is no route {spec.route!r}.{hint}", param="route", code="route_not_found")
    if route.student is None:
        raise RequestError(
            400, f"route {spec.route!r} has no student: section, so it names no upstream for the student",
            param="route", code="no_student",
        )  # fmt: skip
    task = spec.task or route.task
    if task is None:
        raise ConfigError(
            "nothing says what this route's answers are, so they cannot be compared; add to the rollout or to the route, "
            "say, task: {kind: label, labels: [yes, no]} or task: {kind: json}"
        )
    resolved = tasks.read(task)
    tasks.check_judge(resolved, {name: upstream.kind for name, upstream in settings.upstreams.items()})
    _check_fed(spec, resolved)
    return spec, dict(task)


def _check_fed(spec: Spec, task: Task) -> None:
    """A gate that nothing feeds would wait for ever."""
    if task.kind == "text" and task.judge is None:
        raise ConfigError(
            "task: free text is compared by a judge; name one: judge: {upstream: NAME, model: NAME}, any upstream of the "
            "configuration that speaks OpenAI's chat API"
        )
    for gate in (*spec.gates, *spec.harm):
        if gate.signal.startswith("agreement") and task.kind == "text":
            raise ConfigError(
                f"{gate.signal}: a judge says which of two free texts is better, and a tie is no agreement; use score"
            )
        if gate.signal == "score" and task.kind != "text":
            raise ConfigError(f"gate score needs a judge, and a task of kind {task.kind} has none; use agreement")


def check_incumbent(spec: Spec, served: Route) -> None:
    """Raise ConfigError if the rollout wants to keep a student in service and none is. `served`: the route now."""
    if problem := incumbents.problem(spec, served):
        raise ConfigError(problem)


def advice(spec: Spec, task: dict[str, Any], served: Route) -> list[str]:
    """What will work, but perhaps not as meant."""
    found = about_judge(task, served)
    if spec.outcomes and not served.shadow_bp:
        found.append(
            f"route {served.name!r} sends no copies (shadow_sample: 0), so the control's users are not compared and an "
            "outcome gate learns nothing"
        )
    now = served.student_in_service
    if now is not None and not spec.keeps_incumbent:
        found.append(
            f"route {served.name!r} is served by {now.adapter}: without an incumbent gate its shadow step gives "
            "the route back to the teacher"
        )
    return found
