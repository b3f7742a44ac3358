"""What the gateway serves: upstreams, routes, and the versioned table that the data plane reads.

Frozen data that the configuration file declares (gateway.model.keys says how), and with a JSON form (gateway.model.plain),
because the supervisor hands it to the workers. No I/O.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer

from graduand.gateway.errors import ConfigError
from graduand.gateway.model.keys import (
    Address,
    ClientKeys,
    Count,
    Dollars,
    FilePath,
    Headers,
    LogsUrl,
    Percent,
    ProxyUrl,
    Query,
    Secret,
    StateUrl,
)
from graduand.gateway.model.monitors import ALL, Monitors
from graduand.gateway.model.plain import from_plain
from graduand.gateway.model.recording import DEFAULT, RecordPolicy
from graduand.monitoring.prices import Price

Mode = Literal["teacher", "shadow", "canary", "hybrid", "student"]
UpstreamKind = Literal["openai", "vllm", "lorax", "anthropic"]
OnStudentFailure = Literal["teacher", "error"]
Release = Literal["observe", "window", "block"]
StreamUsage = Literal["ask", "never"]
MODES: tuple[Mode, ...] = get_args(Mode)
# Named, with a type: mypy looks for wrong words after `==` and in these, but not in a bare tuple after `in`.
IN_SERVICE: tuple[Mode, ...] = ("student", "hybrid")
TEACHER_ALONE: tuple[Mode, ...] = ("teacher", "shadow")  # answers clients


def known_mode(text: str | None) -> Mode | None:
    """The mode of this name, if there is one."""
    return next((mode for mode in MODES if mode == text), None)


DIRECT = "direct"  # the proxy that is none
BASE_URL = re.compile(r"[!\"$->A-~]+")  # no blanks, query or fragment: it becomes part of a request line
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.\[\]:_-]+")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
Seconds = Annotated[float, Field(gt=0, le=3600)]
FIRST_TOKEN_S = 10.0
# Vendors that are like OpenAI only in chat.
CHAT_ONLY = ("generativelanguage.googleapis.com", "api.mistral.ai", "api.deepseek.com")
# On a model, which knows best how long it thinks.
OwnPatience = Annotated[
    Seconds | None, Field(description="seconds of silence before its first token, in place of the route's `timeouts`")
]


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


def read_replica(url: object) -> Replica:
    """The replica at a base URL; raise ConfigError if it is none, without what may be a secret in it."""
    if not isinstance(url, str):
        raise ConfigError("must be a base URL such as http://127.0.0.1:8000/v1")
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port is not None else 443 if parts.scheme == "https" else 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.username or parts.password:
        raise ConfigError(f"{parts.hostname}: a key belongs into api_key, not into the URL")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port or not BASE_URL.fullmatch(url):
        shown = re.split("[@?#]", url)[-1 if "@" in url else 0]  # what stands after these characters may be a secret
        raise ConfigError(f"{shown!r} is not a base URL such as http://127.0.0.1:8000/v1")
    return Replica(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service that answers: a teacher's API, or engines that all serve the same base model.

    `api_key`, `headers`, `query` and a proxy's password never leave the process but towards the replicas or the proxy. How
    they go with a request is said in gateway.model.outbound.
    """

    name: str
    kind: Annotated[
        UpstreamKind, Field(description="the API it speaks; `openai`: nothing beyond OpenAI's; `anthropic`: Messages")
    ]
    replicas: Annotated[
        tuple[Annotated[Replica, BeforeValidator(read_replica, json_schema_input_type=str)], ...],
        Field(
            alias="base_urls",
            min_length=1,
            description="its replicas, each with the path that `/chat/completions` follows, or Anthropic's `/messages`",
        ),
    ]
    api_key: Annotated[Secret | None, Field(description="the key that is sent to it")] = field(default=None, repr=False)
    ca_file: Annotated[
        FilePath | None,
        Field(
            description="certificates in PEM form to trust instead of the system's, for an authority of your own",
        ),
    ] = None
    gpu_hour: Annotated[
        Dollars | None,
        Field(description="dollars an hour for each of `base_urls`; not together with a price by tokens"),
    ] = None
    slots: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="adapters that each of `base_urls` may hold ([fleet](fleet.md)); without it, all that are "
            "registered",
        ),
    ] = None
    stream_usage: Annotated[
        StreamUsage,
        Field(
            description="whether it is asked for the usage of streams whose clients do not ask (`stream_options`): `ask`, which "
            "ends by itself once it refuses that, or `never`; the tokens of such streams are estimated then"
        ),
    ] = "ask"
    headers: Annotated[
        Headers,
        Field(
            description="headers that go with every request, by name: a text, or `{env: NAME}` or `{file: PATH}` for a "
            "secret, such as Azure's `api-key`"
        ),
    ] = ()
    query: Annotated[
        Query,
        Field(description="what goes into the URL of every request, likewise, such as Azure's `api-version`"),
    ] = ()
    proxy: Annotated[
        ProxyUrl | None,
        Field(
            description="the HTTP proxy in between, `http://HOST:PORT`, with a password only as `{env: NAME}` or `{file: "
            "PATH}`; `direct`: none; without it HTTPS_PROXY and NO_PROXY of the environment count"
        ),
    ] = field(default=None, repr=False)
    rate_limit_headers: Annotated[
        bool,
        Field(
            description="whether clients are told the account's `x-ratelimit-*` or `anthropic-ratelimit-*`; all of them share "
            "the account, so what one is told, others use up"
        ),
    ] = False
    responses: Annotated[
        bool | None,
        Field(
            description="whether it serves `/responses`; others are asked by chat ([Responses](responses.md)). Without it "
            "those of kind `openai` do, but for deployments at Azure, Gemini, Mistral and DeepSeek: set `false` for other "
            "vendors that are like OpenAI only in chat"
        ),
    ] = None

    @property
    def speaks_responses(self) -> bool:
        """Whether requests in OpenAI's Responses API go to it as they are."""
        if self.responses is not None:
            return self.responses
        chats = any(one.host in CHAT_ONLY or "/openai/deployments/" in one.prefix for one in self.replicas)
        return self.kind == "openai" and not chats


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who answers until a student is proved: the expensive model that a route can always fall back to."""

    upstream: Annotated[str, Field(description="the name of an upstream")]
    model: Annotated[str, Field(min_length=1, description="the model's name there")]
    first_token_s: OwnPatience = None


@dataclass(frozen=True, slots=True)
class Student:
    """Who is to take over."""

    upstream: Annotated[str, Field(description="the name of an upstream")]
    adapter: Annotated[str, Field(min_length=1, description="the adapter's name there, `NAME@DIGEST`, or a model's")]
    first_token_s: OwnPatience = None


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The student in service while a rollout tries another one: it goes on answering everybody who is not given the new
    one, as it did before: everything (`student`), or what it is confident in (`hybrid`, by its own threshold)."""

    adapter: str
    mode: Mode = "student"
    threshold: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an answer may take."""

    connect_s: Annotated[Seconds, Field(description="seconds to connect to the upstream")] = 2
    first_token_s: Annotated[
        Seconds,
        Field(
            description="seconds of silence before the first token of a streamed answer; a comment ends a silence. The default "
            "is for students whose teacher answers instead: a model with nobody behind it is waited for until `total_s`, or half "
            "of it where there are several `base_urls`"
        ),
    ] = FIRST_TOKEN_S
    idle_s: Annotated[Seconds, Field(description="seconds between two pieces of a streamed answer")] = 10
    total_s: Annotated[
        float, Field(gt=0, le=86400, description="seconds for the whole answer, retries and fallback included")
    ] = 120


METADATA_USER = "metadata.user_id"
# Where the unit of a request may stand, but for headers: its members by name.
MEMBERS = ("user", "safety_identifier", METADATA_USER, "prompt_cache_key")
# OpenAI's successor of `user`, and Anthropic's. A prompt_cache_key is shared by users, so it has to be named.
USER_ORDER = ("user", "safety_identifier", METADATA_USER)


@dataclass(frozen=True, slots=True)
class Unit:
    """What sticks to an arm: the first of `order` that a request has, each a member's name or `header:NAME`; without an order
    each request is by itself."""

    order: tuple[str, ...] = ()

    @property
    def written(self) -> str | list[str]:
        """As it stands in the file."""
        if self.order == USER_ORDER:
            return "user"
        if self.order == USER_ORDER[:1]:
            return list(self.order)
        return (self.order or ("request",))[0] if len(self.order) < 2 else list(self.order)

    def __str__(self) -> str:
        return self.written if isinstance(self.written, str) else ", then ".join(self.written)


def read_unit(written: object) -> Unit:
    """The unit as it is written, one or several in their order; raise ConfigError if it is none."""
    if written == "request":
        return Unit()
    if written == "user":
        return Unit(USER_ORDER)
    several = list(written) if isinstance(written, list | tuple) else [written]
    order = tuple(_source(one) for one in several)
    if not order or len(set(order)) < len(order):
        raise ConfigError("is a list of one or more places, each once, such as [user, header:x-user]")
    return Unit(order)


def _source(text: object) -> str:
    if text in MEMBERS:
        return str(text)
    kind, _, header = str(text).partition(":")
    if kind == "header" and HEADER_NAME.fullmatch(header):
        return f"header:{header.lower()}"
    raise ConfigError(f"{text!r} is not one of request (alone), {', '.join(MEMBERS)} and header:NAME")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client key may use in any minute; 0 is no limit. Exact over workers, each replica counts its own."""

    requests_per_minute: Annotated[Count, Field(description="requests a minute")] = 0
    tokens_per_minute: Annotated[Count, Field(description="tokens a minute, of prompts and answers")] = 0


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where spans go."""

    endpoint: Annotated[str, Field(description="an OTLP/HTTP receiver, such as `http://127.0.0.1:4318`")]
    sample: Annotated[
        float, Field(gt=0, le=100, description="percent of new traces; a client's own decision stands")
    ] = 100

    @property
    def url(self) -> str:
        """The whole address: OTLP/HTTP has its own path below the endpoint."""
        url = self.endpoint.rstrip("/")
        return url if url.endswith("/v1/traces") else f"{url}/v1/traces"

    @property
    def share(self) -> float:
        """The share of new traces, 0 to 1."""
        return self.sample / 100


@dataclass(frozen=True, slots=True)
class Budget:
    """What copies may use in a day of UTC; 0 is no limit."""

    requests_per_day: Annotated[Count, Field(description="copies a day")] = 0
    tokens_per_day: Annotated[Count, Field(description="tokens a day, of prompts and answers")] = 0

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.requests_per_day > 0 or self.tokens_per_day > 0


@dataclass(frozen=True, slots=True)
class Route:
    """A model name that clients ask for, and who answers it.

    What has no description is no key of the file, but set at run time: `salt` and `rollout` enter the hash that assigns
    units to arms, `unit_salt` the one that knows a unit again in the next rollout; `version` counts the changes.
    `threshold` is from what confidence on a hybrid route's student answers alone (rollout.hybrid.learning); `logprobs`
    asks for log probabilities of the student's copies, to learn one. With an `incumbent`, that student takes the
    teacher's place in a rollout, and the audit's copies go to the teacher and to the other student. While an alarm
    stands, the student has at most `limit_bp` of the units.
    Shares are in basis points (hundredths of a percent).
    """

    name: str
    teacher: Annotated[Teacher, Field(description="who answers until a student is proved")]
    student: Annotated[Student | None, Field(description="who is to take over; all modes but `teacher` need one")] = (
        None
    )
    mode: Annotated[
        Mode,
        Field(
            description="who answers: `teacher`; `shadow`: the teacher, and the student gets copies; `canary`: the "
            "student `weight` percent of units; `hybrid`: the student where it is confident; `student`"
        ),
    ] = "teacher"
    weight_bp: Annotated[
        Percent,
        Field(alias="weight", description="percent of units that the student answers in mode `canary`; steps of 0.01"),
    ] = 0
    unit: Annotated[
        Unit,
        BeforeValidator(read_unit, json_schema_input_type=str | tuple[str, ...]),
        PlainSerializer(str),
        Field(
            description="what sticks to its arm: `user` (the request's `user`, else `safety_identifier`, else "
            "`metadata.user_id`), one of these or `prompt_cache_key` or `header:NAME`, a list of them (the first that a "
            "request has), or `request`"
        ),
    ] = Unit()
    shadow_bp: Annotated[
        Percent,
        Field(
            alias="shadow_sample",
            description="percent of teacher-answered requests also sent to the student, in modes `shadow` and `canary`",
        ),
    ] = 10_000
    on_student_failure: Annotated[
        OnStudentFailure, Field(description="who answers when the student fails: the teacher, or nobody")
    ] = "teacher"
    release: Annotated[
        Release,
        Field(description="what may leave before the answer is checked: all of it, all but the last pieces, nothing"),
    ] = "observe"
    release_window: Annotated[int, Field(ge=1, le=1000, description="pieces of a stream that `window` holds back")] = 20
    checks: Annotated[
        tuple[Any, ...] | None,
        Field(description="checks of the answers ([checks](checks.md)); without it those of `task`, `[]`: none"),
    ] = None
    timeouts: Annotated[Timeouts, Field(description="how long an answer may take")] = Timeouts()
    retries: Annotated[
        int, Field(ge=0, le=10, description="further attempts at an upstream that failed before any token")
    ] = 2
    task: Annotated[
        dict[str, Any] | None,
        Field(
            description="what the answers are, for rollouts and checks: `{kind: label, labels: […]}`, "
            "`{kind: json, …}` or `{kind: text, …}` ([rollouts](rollouts.md))"
        ),
    ] = None
    audit_bp: Annotated[
        Percent,
        Field(alias="audit_sample", description="percent of student-answered requests also sent to the teacher"),
    ] = 0
    record_bp: Annotated[
        Percent, Field(alias="record_sample", description="percent of requests whose payloads are kept in the log")
    ] = 10_000
    shadow_budget: Annotated[Budget, Field(description="of the copies to the student")] = Budget()
    audit_budget: Annotated[Budget, Field(description="of the copies to the teacher")] = Budget()
    monitors: Annotated[
        Monitors,
        Field(description="what watches the route for [drift](drift.md); without it every monitor flags"),
    ] = ALL
    incumbent: Incumbent | None = None
    threshold: dict[str, Any] | None = None
    logprobs: bool = False
    limit_bp: int | None = None
    salt: str = ""
    unit_salt: str = ""
    rollout: str = ""
    version: int = 1

    @property
    def asked_student(self) -> Student | None:
        """The student, if any request or a copy of one goes to it."""
        return None if self.mode == "teacher" else self.student

    @property
    def student_in_service(self) -> Student | None:
        """The student, if it answers clients for good, not as one side of a comparison."""
        return self.student if self.mode in IN_SERVICE else None

    @property
    def falls_back(self) -> bool:
        """Whether the teacher answers when the student fails."""
        return self.on_student_failure == "teacher"


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Where `graduand adapters add` may fetch adapters from, and where they are kept ([fleet](fleet.md))."""

    cache: Annotated[
        FilePath | None,
        Field(
            description="the folder of fetched adapters, which engines must be able to read under the same path; by "
            "default `adapters` beside the state or the log"
        ),
    ] = None
    hub_allow: Annotated[
        tuple[str, ...],
        Field(description="what may come from the hub: `OWNER/NAME`, or patterns such as `OWNER/*`"),
    ] = ()
    hub_token: Annotated[Secret | None, Field(description="the hub's token, sent to the hub and nowhere else")] = field(
        default=None, repr=False
    )


def _named(sections: object) -> object:
    """Each section with the name under which it stands."""
    if not isinstance(sections, dict):
        return sections
    return {name: {**one, "name": name} if isinstance(one, dict) else one for name, one in sections.items()}


def _origin(written: object) -> object:
    """An origin as browsers write it (RFC 6454, 6.2); raise ConfigError if it is none."""
    if isinstance(written, str) and written != "*" and not ORIGIN.fullmatch(written):
        raise ConfigError(f"{written!r} is no origin such as https://app.example (no path, no slash at the end) or '*'")
    return written


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file."""

    # Pydantic carries it into each section: no key takes an infinite number, however it is written.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    upstreams: Annotated[
        dict[str, Upstream], BeforeValidator(_named), Field(min_length=1, description="services, by name")
    ]
    routes: Annotated[
        dict[str, Route],
        BeforeValidator(_named),
        Field(min_length=1, description="by the model name that clients ask for"),
    ]
    listen: Annotated[Address, Field(description="HOST:PORT for clients; port 0: a free one")] = ("127.0.0.1", 8080)
    admin: Annotated[
        Address, Field(description="HOST:PORT of the admin plane, which asks for no key: keep it private")
    ] = ("127.0.0.1", 8081)
    workers: Annotated[int, Field(ge=1, le=256, description="processes that serve requests; one a core")] = 1
    max_body_mb: Annotated[
        int, Field(ge=1, le=200, description="MiB of a request's body, decoded, beyond which it is refused")
    ] = 32
    state: Annotated[
        StateUrl,
        Field(
            description="where what is changed at run time is kept: `sqlite:///PATH`, `redis://`, `rediss://` or "
            "`redis+sentinel://` ([state](state.md)); `///./` is relative to the working folder"
        ),
    ] = "sqlite:///./graduand-data/state.db"
    state_password: Annotated[Secret | None, Field(description="a Redis's password")] = field(default=None, repr=False)
    logs: Annotated[
        LogsUrl,
        Field(
            description="where the log goes: `file:///PATH`, `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX` "
            "([log](logs.md))"
        ),
    ] = "file:///./graduand-data/logs"
    record: Annotated[RecordPolicy, Field(description="what is recorded, and what when there is no room")] = DEFAULT
    cors: Annotated[
        tuple[Annotated[str, BeforeValidator(_origin)], ...],
        Field(
            description="origins of web pages that may call from a browser, such as `https://app.example`, or `*` for all; a key "
            "in a page is everybody's"
        ),
    ] = ()
    client_keys: Annotated[
        ClientKeys | None,
        Field(
            description="keys that clients must have, with names for the log: `NAME: KEY` or `KEY`, one a line or separated "
            'by commas, or JSON, `{"NAME": "KEY"}`; without it none is asked for'
        ),
    ] = field(default=None, repr=False)
    limits: Annotated[Limits, Field(alias="client_limits", description="of one client key; needs `client_keys`")] = (
        Limits()
    )
    prices: Annotated[
        dict[str, Price],
        Field(description="by model name, or adapter name without its digest ([costs](observability.md))"),
    ] = field(default_factory=dict)
    tracing: Annotated[Tracing | None, Field(description="OpenTelemetry; needs `pip install 'graduand[otel]'`")] = None
    artifacts: Annotated[Artifacts, Field(alias="adapters", description="where adapters may be fetched from")] = (
        Artifacts()
    )


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
    return from_plain(Settings, data)
