"""What the gateway serves: upstreams, routes, and the versioned table that the data plane reads.

Plain frozen data with a JSON form, because the supervisor hands it to the workers. No I/O.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graduand.gateway.model.recording import DEFAULT, RecordPolicy, policy_from_json
from graduand.monitoring.prices import Price

MODES = ("teacher", "shadow", "canary", "hybrid", "student")


@dataclass(frozen=True, slots=True)
class Replica:
    """One address of an upstream: `scheme://host:port/prefix`."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def url(self) -> str:
        """The base URL as it was configured, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A set of replicas that serve the same models. `api_key` never leaves the process but towards them.

    `gpu_hour` is what one replica costs an hour, in dollars. `slots` is how many adapters a replica may hold; None: all.
    """

    name: str
    kind: str
    replicas: tuple[Replica, ...]
    api_key: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    gpu_hour: float | None = None
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Teacher:
    """The expensive model that a route can always fall back to."""

    upstream: str
    model: str


@dataclass(frozen=True, slots=True)
class Student:
    """The adapter that is to take the route over."""

    upstream: str
    adapter: str


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The student in service while a rollout tries another one: it goes on answering everybody who is not given the new
    one, as it did before: everything (`student`), or what it is confident in (`hybrid`, by its own threshold)."""

    adapter: str
    mode: str = "student"
    threshold: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds of one request in seconds."""

    connect_s: float = 2
    first_token_s: float = 10
    idle_s: float = 10
    total_s: float = 120


@dataclass(frozen=True, slots=True)
class Unit:
    """What sticks to an arm: `user`, `request`, or the value of a `header`."""

    kind: str
    header: str = ""

    def __str__(self) -> str:
        return f"header:{self.header}" if self.kind == "header" else self.kind


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client key may use in a minute; 0 is no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where spans go (the whole URL), and which share of traces."""

    url: str
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What copies of one kind may use in a day of UTC; 0 is no limit."""

    requests_per_day: int = 0
    tokens_per_day: int = 0

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.requests_per_day > 0 or self.tokens_per_day > 0


@dataclass(frozen=True, slots=True)
class Route:
    """One model name that clients ask for, and who answers it. Weights are in basis points (hundredths of a percent).

    `salt` and `rollout` enter the hash that assigns units to arms; `unit_salt` the one that knows a unit again in the next
    rollout; `version` counts the changes made at run time.
    `threshold` is from what confidence on a hybrid route's student answers alone (rollout.hybrid.learning); `logprobs`
    asks for log probabilities of the student's copies, to learn one. `task` is what the route's answers are
    (rollout.answers.tasks), as written; `audit_bp` of what the student answers also goes to the teacher. `gates` are the
    checks of its answers (monitoring.checks), as written, None: its task's; `release_window` is how many streamed pieces a
    window holds.
    With an `incumbent`, that student takes the teacher's place in a rollout, and the audit's copies go to the teacher and to
    the other student.
    `shadow_budget` bounds the copies to students, `audit_budget` those to the teacher.
    `monitors` watch it (gateway.config.monitors), as written; while an alarm stands, the student has at most `limit_bp`
    of the units. Of `record_bp` of the requests the log keeps the payloads.
    """

    name: str
    teacher: Teacher
    student: Student | None = None
    mode: str = "teacher"
    weight_bp: int = 0
    unit: Unit = Unit("request")
    shadow_bp: int = 10_000
    on_student_failure: str = "teacher"
    release: str = "observe"
    timeouts: Timeouts = Timeouts()
    retries: int = 2
    audit_bp: int = 0
    logprobs: bool = False
    threshold: dict[str, Any] | None = None
    task: dict[str, Any] | None = None
    record_bp: int = 10_000
    gates: tuple[Any, ...] | None = None
    release_window: int = 20
    shadow_budget: Budget = Budget()
    audit_budget: Budget = Budget()
    incumbent: Incumbent | None = None
    monitors: dict[str, Any] | None = None
    limit_bp: int | None = None
    salt: str = ""
    unit_salt: str = ""
    rollout: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Where fetched adapters are kept, and what may be fetched from the hub (patterns such as `ours/*`)."""

    cache: str = ""
    hub_allow: tuple[str, ...] = ()
    hub_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked configuration."""

    listen: tuple[str, int]
    admin: tuple[str, int]
    workers: int
    state: str
    logs: str
    upstreams: dict[str, Upstream]
    routes: dict[str, Route]
    client_keys: tuple[str, ...] | None = field(default=None, repr=False)
    limits: Limits = Limits()
    prices: dict[str, Price] = field(default_factory=dict)
    tracing: Tracing | None = None
    state_password: str | None = field(default=None, repr=False)
    record: RecordPolicy = DEFAULT
    artifacts: Artifacts = Artifacts()


@dataclass(frozen=True, slots=True)
class RouteTable:
    """What the data plane serves by: swapped whole, never edited.

    `ready`: by upstream and adapter, the replicas that may be asked for it (gateway.fleet); who is not there, may be asked
    anywhere.
    `bases` are the base models of registered adapters, by the adapter's name.
    """

    version: int
    routes: dict[str, Route]
    ready: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)


def settings_to_json(settings: Settings) -> dict[str, Any]:
    """Settings as JSON data, keys included: for the private channel to the gateway's own processes only."""
    return asdict(settings)


def settings_from_json(data: dict[str, Any]) -> Settings:
    """The settings that `settings_to_json` wrote."""
    keys = data["client_keys"]
    return Settings(
        **{
            **data,
            "listen": tuple(data["listen"]),
            "admin": tuple(data["admin"]),
            "upstreams": {name: _upstream(one) for name, one in data["upstreams"].items()},
            "routes": {name: _route(one) for name, one in data["routes"].items()},
            "client_keys": None if keys is None else tuple(keys),
            "limits": Limits(**data["limits"]),
            "prices": {model: Price(**price) for model, price in data["prices"].items()},
            "tracing": None if data["tracing"] is None else Tracing(**data["tracing"]),
            "record": policy_from_json(data["record"]),
            "artifacts": Artifacts(**{**data["artifacts"], "hub_allow": tuple(data["artifacts"]["hub_allow"])}),
        }
    )


def _route(data: dict[str, Any]) -> Route:
    student = data["student"]
    return Route(
        **{
            **data,
            "teacher": Teacher(**data["teacher"]),
            "student": None if student is None else Student(**student),
            "unit": Unit(**data["unit"]),
            "timeouts": Timeouts(**data["timeouts"]),
            "gates": None if data["gates"] is None else tuple(data["gates"]),
            "shadow_budget": Budget(**data["shadow_budget"]),
            "audit_budget": Budget(**data["audit_budget"]),
        }
    )


def _upstream(data: dict[str, Any]) -> Upstream:
    return Upstream(**{**data, "replicas": tuple(Replica(**one) for one in data["replicas"])})
