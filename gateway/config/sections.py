"""The sections of the configuration file as they are written: pydantic at the edge, each key with its meaning.

docs/configuration.md is made from these models (gateway/config/reference.py), so a key's `description` is its documentation: with
its unit, and what no value means. What spans several keys is checked by gateway.config.read, which also gives them their form
inside.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from graduand.gateway.config.monitors import MonitorsSection
from graduand.gateway.config.record import RecordSection
from graduand.gateway.config.telemetry import Dollars, PriceSection, TracingSection


class _Section(BaseModel):
    """Strict: unknown keys are refused by gateway.config.read with a suggestion, wrong types by pydantic."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Secret(_Section):
    """Where a secret is read from: exactly one of the two. A secret is never written in the file itself."""

    env: str | None = Field(None, description="the name of an environment variable")
    file: Path | None = Field(None, description="a file that holds it; blanks around it are cut off")


class TimeoutsSection(_Section):
    """How long an answer may take."""

    connect_s: float = Field(2, gt=0, le=3600, description="seconds to connect to the upstream")
    first_token_s: float = Field(
        10, gt=0, le=3600, description="seconds from the request to the first token of a streamed answer"
    )
    idle_s: float = Field(10, gt=0, le=3600, description="seconds between two pieces of a streamed answer")
    total_s: float = Field(
        120, gt=0, le=86400, description="seconds for the whole answer, retries and fallback included"
    )


class UpstreamSection(_Section):
    """A service that answers: a teacher's API, or engines that all serve the same base model."""

    kind: Literal["openai", "vllm", "lorax"] = Field(description="the API it speaks; `openai`: nothing beyond OpenAI's")
    base_urls: Annotated[list[str], Field(min_length=1)] = Field(
        description="its replicas, each with the path that `/chat/completions` follows"
    )
    api_key: Secret | None = Field(None, description="the key that is sent to it")
    ca_file: Path | None = Field(
        None, description="certificates in PEM form to trust instead of the system's, for an authority of your own"
    )
    gpu_hour: Dollars | None = Field(
        None, description="dollars an hour for each of `base_urls`; not together with a price by tokens"
    )
    slots: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="adapters that each of `base_urls` may hold ([fleet](fleet.md)); without it, all that are registered",
    )


class TeacherSection(_Section):
    """Who answers until a student is proved."""

    upstream: str = Field(description="the name of an upstream")
    model: str = Field(min_length=1, description="the model's name there")


class StudentSection(_Section):
    """Who is to take over."""

    upstream: str = Field(description="the name of an upstream")
    adapter: str = Field(min_length=1, description="the adapter's name there, `NAME@DIGEST`, or a model's")


def _plain_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number of percent, 0 to 100")
    return value


Percent = Annotated[float, BeforeValidator(_plain_number), Field(ge=0, le=100)]


class BudgetSection(_Section):
    """What copies may use in a day of UTC; 0 is no limit."""

    requests_per_day: int = Field(0, ge=0, description="copies a day")
    tokens_per_day: int = Field(0, ge=0, description="tokens a day, of prompts and answers")


class RouteSection(_Section):
    """A model name that clients ask for, and who answers it."""

    teacher: TeacherSection = Field(description="who answers until a student is proved")
    student: StudentSection | None = Field(None, description="who is to take over; all modes but `teacher` need one")
    mode: Literal["teacher", "shadow", "canary", "hybrid", "student"] = Field(
        "teacher",
        description="who answers: `teacher`; `shadow`: the teacher, and the student gets copies; `canary`: the student "
        "`weight` percent of units; `hybrid`: the student where it is confident; `student`",
    )
    weight: Percent = Field(0, description="percent of units that the student answers in mode `canary`; steps of 0.01")
    unit: str = Field(
        "request",
        description="what sticks to its arm: `user` (the request's `user` field), `header:NAME` or `request`",
    )
    shadow_sample: Percent = Field(
        100, description="percent of teacher-answered requests also sent to the student, in modes `shadow` and `canary`"
    )
    on_student_failure: Literal["teacher", "error"] = Field(
        "teacher", description="who answers when the student fails: the teacher, or nobody"
    )
    release: Literal["observe", "window", "block"] = Field(
        "observe",
        description="what may leave before the answer is checked: all of it, all but the last pieces, nothing",
    )
    release_window: int = Field(20, ge=1, le=1000, description="pieces of a stream that `window` holds back")
    gates: list[Any] | None = Field(
        None, description="checks of the answers ([gates](gates.md)); without it those of `task`, `[]`: none"
    )
    timeouts: TimeoutsSection = Field(TimeoutsSection(), description="how long an answer may take")
    retries: int = Field(2, ge=0, le=10, description="further attempts at an upstream that failed before any token")
    task: dict[str, Any] | None = Field(
        None,
        description="what the answers are, for rollouts and gates: `{kind: label, labels: […]}`, `{kind: json, …}` or "
        "`{kind: text, …}` ([rollouts](rollouts.md))",
    )
    audit_sample: Percent = Field(0, description="percent of student-answered requests also sent to the teacher")
    record_sample: Percent = Field(100, description="percent of requests whose payloads are kept in the log")
    shadow_budget: BudgetSection = Field(BudgetSection(), description="of the copies to the student")
    audit_budget: BudgetSection = Field(BudgetSection(), description="of the copies to the teacher")
    monitors: MonitorsSection | None = Field(
        None, description="what watches the route for [drift](drift.md); without it every monitor flags"
    )


class LimitsSection(_Section):
    """What one client key may use in any minute; 0 is no limit. Exact over workers, each replica counts its own."""

    requests_per_minute: int = Field(0, ge=0, description="requests a minute")
    tokens_per_minute: int = Field(0, ge=0, description="tokens a minute, of prompts and answers")


class AdaptersSection(_Section):
    """Where `graduand adapters add` may fetch adapters from, and where they are kept ([fleet](fleet.md))."""

    cache: Path | None = Field(
        None,
        description="the folder of fetched adapters, which engines must be able to read under the same path; by default "
        "`adapters` beside the state or the log",
    )
    hub_allow: list[str] = Field(
        [], description="what may come from the hub: `OWNER/NAME`, or patterns such as `OWNER/*`"
    )
    hub_token: Secret | None = Field(None, description="the hub's token, sent to the hub and nowhere else")


class ConfigFile(_Section):
    """The whole file."""

    listen: str = Field("127.0.0.1:8080", description="HOST:PORT for clients; port 0: a free one")
    admin: str = Field(
        "127.0.0.1:8081", description="HOST:PORT of the admin plane, which asks for no key: keep it private"
    )
    workers: int = Field(1, ge=1, le=256, description="processes that serve requests; one a core")
    state: str = Field(
        "sqlite:///./graduand-data/state.db",
        description="where what is changed at run time is kept: `sqlite:///PATH`, `redis://`, `rediss://` or "
        "`redis+sentinel://` ([state](state.md)); `///./` is relative to the working folder",
    )
    state_password: Secret | None = Field(None, description="a Redis's password")
    logs: str = Field(
        "file:///./graduand-data/logs",
        description="where the log goes: `file:///PATH`, `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX` ([log](logs.md))",
    )
    record: RecordSection = Field(RecordSection(), description="what is recorded, and what when there is no room")
    client_keys: Secret | None = Field(
        None, description="keys that clients must have, separated by commas; without it none is asked for"
    )
    client_limits: LimitsSection = Field(LimitsSection(), description="of one client key; needs `client_keys`")
    prices: dict[str, PriceSection] = Field(
        default_factory=dict,
        description="by model name, or adapter name without its digest ([costs](observability.md))",
    )
    tracing: TracingSection | None = Field(None, description="OpenTelemetry; needs `pip install 'graduand[otel]'`")
    adapters: AdaptersSection = Field(AdaptersSection(), description="where adapters may be fetched from")
    upstreams: Annotated[dict[str, UpstreamSection], Field(min_length=1)] = Field(description="services, by name")
    routes: Annotated[dict[str, RouteSection], Field(min_length=1)] = Field(
        description="by the model name that clients ask for"
    )
