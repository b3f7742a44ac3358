"""The fields of the log's tables, each declared once: its type, what it says, and whether it may quote a client.

What else must know the fields follows from these classes: the columns of a Parquet part and of a query
(`gateway.logs.schema`), what redaction looks at (`gateway.logs.redaction`) and the table in docs/logs.md
(`gateway.logs.reference`). A record is a plain dictionary with known keys: what is quickest to build and to write, by
measurement (docs/decisions/0004-record-type.md).

A field may be added at the end of its class, never changed. Records that were written before have none: their readers see
null, or what is blank where a field is never null (`gateway.model.reader.record_of`).
"""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

# Who wrote the text in a field. The gateway itself, from its configuration and counters; the gateway, in words that may quote
# what came in; or somebody else, as the body of a request or an answer.
Words = Literal["own", "quoting", "payload"]


class Field(NamedTuple):
    """What a field says, for the documentation, and whose words are in it. Redaction looks at what is not `own`."""

    about: str
    words: Words = "quoting"


def own(about: str) -> Field:
    """A field in which nothing that came in can stand."""
    return Field(about, "own")


OWN = own("")


class Timings(TypedDict):
    """When what happened, in milliseconds after the request's head was read."""

    queue_ms: float | None
    overhead_ms: float | None
    ttft_ms: float | None
    total_ms: float | None


class Usage(TypedDict):
    """Tokens, and how they are known: exact, estimated, or partial (estimated, and the answer broke off).

    How they are read and estimated says `gateway.model.usage`.
    """

    prompt_tokens: int
    completion_tokens: int
    kind: str


class _Asked(TypedDict):
    upstream: Annotated[str, OWN]
    arm: Annotated[str, OWN]
    replica: Annotated[str, OWN]
    outcome: str
    ms: float


class Attempt(_Asked, total=False):
    """One request to one replica. `said` is there if the replica refused or its answer could not be taken: what it answered,
    or the beginning of it. `model` is missing in older records; the other fields are there if the request has a span."""

    model: Annotated[str | None, OWN]
    span_id: Annotated[str | None, OWN]
    ended_at: float | None
    said: str | None


class LoggedVerdict(TypedDict):
    """What one output check said of the answer."""

    name: str
    version: str
    score: float
    label: str
    latency_ms: float
    action: str


class Drift(TypedDict):
    """What the novelty detector said of the request."""

    novelty_p: float | None
    e_value: float | None


class Spans(TypedDict):
    """How often something was taken out of one place."""

    kind: str
    where: str
    count: int


class Redaction(TypedDict):
    """What was looked for and what was found."""

    policy: str
    spans: list[Spans]


class Record(TypedDict):
    """One served request, or one answer that no client saw."""

    schema_version: Annotated[int, own("changes when the meaning of a field does")]
    id: Annotated[str, own("a UUIDv7, the answer's `x-graduand-id`: records sort by time")]
    parent_id: Annotated[str | None, own("of what no client saw: the `id` of the request")]
    role: Annotated[
        str,
        own(
            "`served`; a copy to the student (`shadow`) or the teacher (`audit`); an answer set aside (`deferred`, `held_back`)"
        ),
    ]
    time: Annotated[float, own("when the answer had ended, seconds since 1970")]
    route: Annotated[str, own("the route's name; `unknown` if no route was found")]
    endpoint: Annotated[str, own("the path below `/v1`")]
    arm: Annotated[str, own("who answered: `teacher` or `student`")]
    assigned_arm: Annotated[str, own("who was to answer")]
    arm_probability: Annotated[float, own("with which the unit fell into that arm")]
    unit_bucket: Annotated[int, own("the unit's place among 10,000")]
    unit_hash: Annotated[int, own("the unit, salted anew for each rollout")]
    rollout: Annotated[str | None, own("the rollout that was running on the route")]
    route_version: Annotated[int, own("of the route table")]
    copy_wanted: Annotated[bool, own("whether a copy was to be asked of the other arm")]
    reason: Annotated[str, Field("why this arm answered")]
    fallback_reason: Annotated[str | None, Field("why the arm that was to answer did not")]
    adapter: Annotated[str | None, own("the student's adapter, NAME@DIGEST")]
    adapter_digest: Annotated[str | None, own("its digest alone")]
    base_model: Annotated[str | None, own("the model below the adapter")]
    teacher_model: Annotated[str, own("the route's teacher, whoever answered")]
    served_model: Annotated[str | None, Field("what the upstream called its model")]
    status: Annotated[int, own("the HTTP status of the answer; 499 if the client left before there was one")]
    prompt_sha256: Annotated[str | None, own("equal for equal prompts, whatever the model and the parameters")]
    request_json: Annotated[str | None, Field("the client's body, byte for byte", "payload")]
    response_json: Annotated[str | None, Field("the answer; a stream is put together", "payload")]
    stream: Annotated[bool, own("whether the client asked for a stream")]
    completed: Annotated[bool, own("whether the answer is whole")]
    client_disconnected: Annotated[bool, own("whether the client left first")]
    bytes_released_before_verdict: Annotated[
        int, own("what had left when the checks had judged; of no check: all of it")
    ]
    timings: Annotated[Timings, own("milliseconds: waiting at the upstream, own work, first token, all")]
    usage: Annotated[Usage, own("tokens, and how they are known")]
    cost: Annotated[float | None, own("dollars; null if unknown")]
    attempts: Annotated[list[Attempt], Field("each request to a replica, in order")]
    verdicts: Annotated[list[LoggedVerdict], Field("what the output checks said")]
    drift: Annotated[Drift | None, own("what the novelty detector said, joined from its own table")]
    redaction: Annotated[Redaction | None, own("what was taken out, and how often")]
    error: Annotated[str | None, Field("why there is no whole answer")]
    client: Annotated[
        int, own("the place of the client's key in the list, which moves when the list does; -1 if the key is unknown")
    ]
    sampling_prob: Annotated[float, own("the probability with which the payloads were kept")]
    trace_id: Annotated[str | None, own("[W3C trace context](observability.md)")]
    span_id: Annotated[str | None, own("the gateway's span")]
    parent_span_id: Annotated[str | None, own("the client's span")]
    trace_sampled: Annotated[bool, own("whether spans are exported")]
    unit: Annotated[
        int | None, own("a hash of the user that stays the same over rollouts; null if the request names none")
    ]
    unit_missing: Annotated[bool, own("whether the request names no unit: then each is drawn by itself")]
    session: Annotated[str | None, own("the unit's day, which is copied as a whole or not at all")]
    sampled_p: Annotated[float, own("the probability with which it was drawn to be copied")]
    path: Annotated[
        str, own("`served`: the student was to answer; `copies`: it gets a copy of what the teacher answers")
    ]
    client_key: Annotated[
        str | None,
        own("the name of the client's key, or `key-` and the beginning of its SHA-256; null if it is unknown"),
    ]
    upstream_request_id: Annotated[str | None, Field("the vendor's own id of the request that it answered last")]
    upstream_ms: Annotated[float | None, own("how long the vendor says to have worked on it (`openai-processing-ms`)")]
    response_note: Annotated[
        str | None,
        own(
            "`mended`: the answer was no JSON by the standard; here NaN and Infinity are null, half characters are U+FFFD"
        ),
    ]
    error_message: Annotated[str | None, Field("the same in words: the vendor's, where it gave a reason")]


class FeedbackRow(TypedDict):
    """One statement of somebody about an answer."""

    schema_version: Annotated[int, own("changes when the meaning of a field does")]
    feedback_id: Annotated[str, own("the same for the same statement")]
    id: Annotated[str, own("of the answer")]
    time: Annotated[float, own("when it was said, seconds since 1970")]
    score: Annotated[float | None, own("below 0 is bad")]
    label: Annotated[str | None, Field("such as `thumbs_up`")]
    correction: Annotated[str | None, Field("the answer as it should have been")]
    comment: Annotated[str | None, Field("anything else")]
    who: Annotated[str, Field("who says so")]


class LabelRow(TypedDict):
    """One gold label of a request that was drawn for it, with what its gate needs."""

    schema_version: Annotated[int, own("changes when the meaning of a field does")]
    label_id: Annotated[str, own("the same for the same label of the same request")]
    id: Annotated[str, own("of the request, as it was served")]
    time: Annotated[float, own("when the label was given, seconds since 1970")]
    route: Annotated[str, own("the route's name")]
    rollout: Annotated[str, own("the rollout that asked")]
    basis: Annotated[int, own("of its evidence, counted from 1")]
    step: Annotated[str, own("the step that the request belongs to")]
    correct: Annotated[bool | None, own("whether the student's answer is right; null: skipped, or no outcome in time")]
    teacher_correct: Annotated[bool | None, own("whether the teacher's is, where people saw it")]
    source: Annotated[str, own("`review`, `file`, `outcome`, or `empty`: there was no answer to look at")]
    who: Annotated[str, Field("who says so")]
    predicted: Annotated[float, own("what was guessed about the answer before")]
    mean: Annotated[float, own("what was guessed about its block on average")]
    probability: Annotated[float, own("with which it was drawn out of its block")]
    size: Annotated[int, own("of its block, in sessions")]
    share: Annotated[float, own("what its block counts for beside the others")]


class DriftRow(TypedDict):
    """What the novelty detector said of one request."""

    schema_version: Annotated[int, own("changes when the meaning of a field does")]
    id: Annotated[str, own("of the request")]
    time: Annotated[float, own("when it was answered, seconds since 1970")]
    route: Annotated[str, own("the route's name")]
    adapter: Annotated[str, own("the student that was watched")]
    novelty_p: Annotated[float | None, own("how many of the usual texts are as far away")]
    e_value: Annotated[float | None, own("the evidence until then")]
    evaluated_at: Annotated[float, own("when the detector said so, seconds since 1970")]


class EvidenceRow(TypedDict):
    """One thing that a rollout learnt from (`gateway.model.evidence`)."""

    schema_version: Annotated[int, own("changes when the meaning of a field does")]
    id: Annotated[str, own("ROLLOUT/NUMBER")]
    rollout: Annotated[str, own("the rollout")]
    number: Annotated[int, own("the line's place in the rollout's evidence, from 1 on, without a gap")]
    time: Annotated[float, own("when it happened, seconds since 1970")]
    kind: Annotated[
        str,
        own(
            "`begin`, `read`, `served`, `pair`, `verdict`, `label`, `outcome`, `tick`, `event`, `part` or `certificate`"
        ),
    ]
    body: Annotated[str, own("what happened: canonical JSON")]
    previous: Annotated[str, own("the hash of the line before it; empty in the first")]
    text: Annotated[str | None, Field("what a judge said, in its own words; erased, its hash stays in `body`")]


# The tables of the log and the one class that each of them follows.
TABLES: dict[str, type] = {
    "log": Record, "feedback": FeedbackRow, "labels": LabelRow, "drift": DriftRow, "evidence": EvidenceRow,
}  # fmt: skip


class Declared(NamedTuple):
    """One field: its type without `None`, whether it may be null, and what was said of it."""

    name: str
    type: Any
    nullable: bool
    field: Field


@cache
def of(table: type) -> tuple[Declared, ...]:
    """The fields of a class, in their order; what is not described may quote."""
    return tuple(_declared(table))


def _declared(table: type) -> Iterator[Declared]:
    for name, hint in get_type_hints(table, include_extras=True).items():
        described = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Field)]
        bare = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        kinds = get_args(bare)
        nullable = type(None) in kinds
        kind = next(one for one in kinds if one is not type(None)) if nullable else bare
        yield Declared(name, kind, nullable, described[0] if described else Field(""))


@cache
def named(table: type, words: Words) -> tuple[str, ...]:
    """The names of the fields that hold such words."""
    return tuple(one.name for one in of(table) if one.field.words == words)


def inner(kind: Any) -> type | None:
    """The class of the objects that a field holds, one or a list of them; None if it holds plain values."""
    if get_origin(kind) is list:
        kind = get_args(kind)[0]
    return kind if is_typeddict(kind) else None
