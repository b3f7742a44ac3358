"""A client's request as a value: what it said, in which API, who sent it, and who is to answer."""

from typing import Any, Final

from graduand.gateway.dataplane.dialects.dialect import Dialect, Sending
from graduand.gateway.dataplane.dispatch import Dispatch
from graduand.gateway.dataplane.http.failures import Failure, UpstreamFailed
from graduand.gateway.dataplane.targets import RouteTargets, Target
from graduand.gateway.model.clients import UNKNOWN
from graduand.gateway.model.forms import canonical
from graduand.gateway.model.routing import TEACHER, Decision
from graduand.gateway.model.trace import Trace

NOBODY: Final = Decision(TEACHER, "unrouted", 1.0, 0, False, False)


class Asked:
    """One request. Its exchange fills it in while it is read and routed; from then on nobody changes it.

    `client` is who sent it, `data` the body as JSON. `targets` is None until the route is known. `span` is `trace`
    where spans are made; elsewhere a client's trace is only passed on and logged. `forwarded` are the lines of the headers that
    its dialect passes on, to copies too. A plain class, which is quick to make.
    """

    __slots__ = (
        "body",
        "client",
        "data",
        "decision",
        "dialect",
        "forwarded",
        "id",
        "span",
        "stream",
        "targets",
        "trace",
    )

    def __init__(self, id: str, dialect: Dialect, body: bytes) -> None:
        self.id = id
        self.dialect = dialect
        self.body = body
        self.client = UNKNOWN
        self.data: dict[str, Any] = {}
        self.forwarded = b""
        self.stream = False
        self.targets: RouteTargets | None = None
        self.decision = NOBODY
        self.trace: Trace | None = None
        self.span: Trace | None = None

    @property
    def route(self) -> str:
        """The route's name, for people."""
        return self.targets.route.name if self.targets is not None else "unknown"

    def as_chat(self) -> dict[str, Any]:
        """The request in the one form that checks and evidence know, if it can be said so."""
        return canonical.request(self.data, self.dialect.endpoint)

    def dispatch(
        self, target: Target, *, headers: bytes, began: float, retries: int, scored: bool, held: bool, span: Trace | None
    ) -> Dispatch:  # fmt: skip
        """What puts the request to one of the route's models; `scored` asks for log probabilities as well. Its time runs since
        `began`; `held`: a stream is not released as it comes."""
        to = target.addressee if target.upstream.adds_usage else target.plain_addressee
        refusal: Failure | None = None
        try:
            sending = self.dialect.sending(self.body, self.data, to, scored=scored)
        except UpstreamFailed as unsaid:
            sending, refusal = Sending("", b""), unsaid.failure
        return Dispatch(
            self, target, sending.path, headers + sending.headers if sending.headers else headers, sending.body,
            stream=self.stream, began=began, retries=retries, scored=scored, held=held, trace=span, refusal=refusal,
        )  # fmt: skip

    def plain(self, target: Target, *, scored: bool) -> bytes:
        """The body for one of the route's models without anything that the client did not ask for and can do without."""
        return self.dialect.sending(self.body, self.data, target.plain_addressee, scored=scored).body
