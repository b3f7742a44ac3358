"""What an API is to the data plane: an object that reads its requests, puts them to a model, and writes its answers.

The data plane knows one form of an answer, OpenAI's (`choices`, and `usage` with `prompt_tokens` and
`completion_tokens`): checks, scorers, limits and costs look at that. A dialect whose clients or upstreams speak another form
translates at the edge. It is handed the kind and the model of who is asked, never a route, a replica or a connection.

To add an API, write a module here and give its paths to `registry.DIALECTS`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from graduand.gateway.dataplane.dialects.assembly import Assembly
from graduand.gateway.dataplane.http.failures import Failure

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Addressee:
    """Who is asked, as far as a dialect needs to know: the upstream's kind, the model, and its name as JSON.

    `adds_usage`: a stream may be asked for its usage where the client does not ask. `responses`: it speaks OpenAI's Responses
    API itself.
    """

    kind: str
    model: str
    model_json: bytes
    adds_usage: bool = True
    responses: bool = False

    @property
    def lorax(self) -> bool:
        """Whether it is a LoRAX server, whose OpenAI forms need mending."""
        return self.kind == "lorax"

    @property
    def anthropic(self) -> bool:
        """Whether it speaks Anthropic's Messages API."""
        return self.kind == "anthropic"


class Sending:
    """What goes to an upstream: the path below its base URL, the body, and encoded lines of headers that belong to both.

    A plain class, here and below: one is made for every request, and compiled it is the quickest to make.
    """

    __slots__ = ("body", "headers", "path")

    def __init__(self, path: str, body: bytes, headers: bytes = b"") -> None:
        self.path = path
        self.body = body
        self.headers = headers


class Whole:
    """A whole answer that was read and checked.

    `encoded` is what the log keeps. `form` is the answer in OpenAI's form and `usage` its usage as it was told. `model` is
    who the upstream says has answered; `queue_ms` how long the request waited there, if the upstream says so. `strange`: it
    is not JSON by the standard (gateway.model.lenient), and what was read of it may be less than it holds.
    """

    __slots__ = ("encoded", "form", "model", "queue_ms", "strange", "usage")

    def __init__(self, encoded: bytes, form: Json, queue_ms: float | None = None, *, strange: bool = False) -> None:
        self.strange = strange
        model = form.get("model")
        self.encoded = encoded
        self.form = form
        self.usage: Any = form.get("usage")
        self.model: str | None = model if type(model) is str else None
        self.queue_ms = queue_ms


class Progress:
    """How far a stream has been read.

    `done`: the stream has said that it is over. `failure`: what it reported, or why it cannot be read. `visible`: something
    has come that a reader would see. `served_model`: who says to have answered. `assembly`: the answer as far as it came.
    `strange`: some of it was not JSON by the standard. `events`: how many events the client has of it at most, where this
    API numbers them.
    """

    __slots__ = ("assembly", "done", "events", "failure", "served_model", "strange", "visible")

    def __init__(self) -> None:
        self.assembly = Assembly()
        self.done = False
        self.events = 0
        self.failure: Failure | None = None
        self.served_model: str | None = None
        self.visible = False
        self.strange = False


class Reader(Protocol):
    """Reads one event stream; it has whatever state its translation needs, and keeps its `progress` up to date.

    A class of its own, looked at after every piece: compiled, that costs nothing, and a look at a protocol does.
    """

    @property
    def progress(self) -> Progress: ...

    def feed(self, data: bytes) -> bytes:
        """Events for the client, framed, out of the next bytes from the upstream."""

    def finish(self) -> bytes:
        """Called at the end of the bytes: the client's last event; raise UpstreamFailed if the answer broke off."""


class Dialect(Protocol):
    """One API towards clients. `endpoint` is the log's word for it; `forwards` are the headers of a request to pass on."""

    @property
    def endpoint(self) -> str: ...
    @property
    def forwards(self) -> tuple[bytes, ...]: ...

    def credential(self, headers: dict[bytes, bytes]) -> bytes:
        """The client's key as an Authorization header has it (`Bearer KEY`), wherever this API's clients put it."""

    def parse(self, body: bytes) -> Json:
        """The request as JSON data whose `model` is the route's name; raise RequestError if it cannot be routed."""

    def streams(self, data: Json) -> bool:
        """Whether the answer is to be an event stream."""

    def sending(self, body: bytes, data: Json, to: Addressee, *, scored: bool) -> Sending:
        """What puts the client's request to `to`; `scored` asks for log probabilities as well. Raise UpstreamFailed if the
        API of `to` cannot say it (failures.untranslatable)."""

    def scorable(self, data: Json, to: Addressee) -> bool:
        """Whether `to` can tell the log probabilities of one whole answer to this request."""

    def watchable(self, data: Json) -> bool:
        """Whether a stream's text can be looked at as it comes: one choice, which holds nothing but the answer."""

    def whole(self, body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
        """Read and check a whole answer; raise UpstreamFailed if it is none."""

    def shown(self, whole: Whole, data: Json, *, scored: bool) -> bytes:
        """The answer for the client; of one that was `scored`, without the log probabilities that it did not ask for."""

    def reader(self, data: Json, by: Addressee, *, scored: bool) -> Reader:
        """What reads the answer as a stream; `scored` as above."""

    def error(self, body: bytes, status: int) -> bytes:
        """This API's error object, made of OpenAI's in `body`."""

    def error_event(self, body: bytes, events: int) -> bytes:
        """The framed event that tells of a failure within a stream, made of OpenAI's error in `body`; after so many `events`,
        where this API numbers them."""
