"""What a model answered, as far as it came, and how it was judged: a value that served answers and copies share."""

from typing import Any

from graduand.gateway.dataplane.dialects.assembly import Assembly
from graduand.gateway.dataplane.dialects.dialect import Progress, Whole
from graduand.gateway.model import lenient, usage
from graduand.gateway.model.usage import Tokens
from graduand.monitoring.checks.judging import Verdict

Json = dict[str, Any]


class Answer:
    """One model's answer.

    `text` is what the log keeps, `usage` what the upstream told of it, `pieces` how many pieces of a stream came, `events` how
    many events at most the client has of it; `mended`:
    it was no JSON by the standard, and `text` is what could be read of it. `first_at`
    is when a reader could first see something, `queue_ms` how long the request waited at the upstream. `whole`: all of it
    came, and nothing kept it from whom it was for. `unchecked`: how many bytes had left before the verdict, where there is
    one. A plain class, which is quick to make.
    """

    __slots__ = (
        "_assembly", "_form", "events", "first_at", "mended", "model", "pieces", "queue_ms", "text", "unchecked",
        "usage", "verdicts", "whole",
    )  # fmt: skip

    def __init__(self) -> None:
        # What it is, for an estimate of its tokens: at once, or out of a stream.
        self._form: Json | None = None
        self._assembly: Assembly | None = None
        self.mended = False
        self.text: str | None = None
        self.model: str | None = None
        self.usage: Any = None
        self.pieces = 0
        self.events = 0
        self.first_at: float | None = None
        self.queue_ms: float | None = None
        self.verdicts: list[Verdict] = []
        self.unchecked: int | None = None
        self.whole = False

    @property
    def came(self) -> bool:
        """Whether anything of it came: then it is paid for."""
        return self.whole or self.pieces > 0

    def take_whole(self, whole: Whole) -> None:
        """Take over what came at once."""
        self.text = whole.encoded.decode("utf-8", "replace")
        self._form = whole.form
        if whole.strange:
            self.mended, self.text = True, lenient.encoded(whole.form).decode()
        self.usage, self.model, self.queue_ms = whole.usage, whole.model, whole.queue_ms

    def take_stream(self, progress: Progress) -> None:
        """Take over what a stream has brought, all or some of it."""
        assembly, self.events = progress.assembly, progress.events
        self.usage, self.pieces, self.model = assembly.usage, assembly.pieces, progress.served_model
        self.text = assembly.encoded() if self.model or assembly.pieces else None
        self._assembly, self.mended = assembly, progress.strange

    def tokens(self, request: Json) -> Tokens:
        """The tokens that it used as an answer to `request`, and how they are known (gateway.model.usage)."""
        told = usage.told(self.usage)
        if told is not None and told.total:
            return told
        assembly = self._assembly  # put together for an estimate only
        if assembly is None:
            return usage.of(self.usage, request, self._form, 0, completed=self.whole)
        return usage.of(self.usage, request, assembly.answer(), assembly.text_pieces, completed=self.whole)
