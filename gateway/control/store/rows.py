"""A rollout as it is stored: its state, its evidence, and where on its route it began. Plain data, no I/O."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graduand.gateway.model.evidence import Digest, Kind, Trail, encoded
from graduand.rollout import ledger as ledgers
from graduand.rollout.gates.account import Account
from graduand.rollout.hybrid.learning import Learning, learning_from_dict
from graduand.rollout.ledger import Ledger
from graduand.rollout.spec import earlier
from graduand.rollout.spec.spec import METHOD
from graduand.rollout.state import Phase, State, state_from_dict

READ_AT_ONCE = 256  # digests in a line
# In these phases nothing is decided and no evidence is gathered.
AT_REST = frozenset({Phase.DRAFT, Phase.ROLLED_BACK, Phase.ABORTED, Phase.SUPERSEDED})


@dataclass(slots=True)
class Row:
    """One rollout. `entry_version` and `attempt_version`: the route's version from which on requests belong to this
    entry into a step, and to this attempt; `table_version`: the store's version that carries its last route change."""

    state: State
    ledger: Ledger
    task: Mapping[str, Any]  # as written: rollout.answers.tasks
    created_at: float
    started_at: float = 0.0
    token: int = 0
    entry_version: int = 0
    attempt_version: int = 0
    table_version: int = 0
    learning: Learning = field(default_factory=Learning)  # of a confidence threshold, in this attempt
    # While another student goes on serving its route: which, how, and the route change that it is given back by.
    incumbent: Mapping[str, Any] | None = None
    counts: dict[str, int] = field(default_factory=dict)  # since the attempt began: what taught no gate, and why
    # What the evidence is about, each with the values it has had: the teacher as configured and as its upstream calls it.
    facts: dict[str, list[str]] = field(default_factory=dict)
    renewal: str = ""  # why the evidence is to start anew at this look
    upgraded: str = ""  # why it is to be held: it was stored by a version with other gates
    # How far its evidence is written down; None where that began before there was a place for it.
    trail: Trail | None = None
    account: Account | None = None  # from which the present basis drew its share of alpha
    claims: list[dict[str, Any]] = field(default_factory=list)  # what each step proved, for a certificate
    lines: list[bytes] = field(default_factory=list)  # of evidence, that are not in the store yet
    unread: list[Digest] = field(default_factory=list)  # of records, that no line has yet

    @property
    def id(self) -> str:
        """The rollout's id."""
        return self.state.id

    @property
    def wants_threshold(self) -> bool:
        """Some step is hybrid, so log probabilities are needed to learn from."""
        return any(step.kind == "hybrid" for step in self.state.spec.steps)

    @property
    def at_rest(self) -> bool:
        """Nothing is decided."""
        return self.state.phase in AT_REST

    def count(self, what: str) -> None:
        """One more of what no gate sees."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def note(self, kind: Kind, at: float, body: dict[str, Any], text: str | None = None) -> None:
        """Write down what its evidence is about to learn; `write_row` stores it."""
        if self.trail is not None:
            self.lines.append(encoded(self.trail.write(self.id, at, kind, body, text)))

    def note_read(self, at: float) -> None:
        """Write down which records were read."""
        for start in range(0, len(self.unread), READ_AT_ONCE):
            self.note("read", at, {"records": [list(one) for one in self.unread[start : start + READ_AT_ONCE]]})
        self.unread.clear()


PLAIN = (
    "created_at", "started_at", "token", "entry_version", "attempt_version", "table_version",
)  # fmt: skip


def to_json(row: Row) -> str:
    """The row as it is stored: what has parts of its own is JSON in JSON, as older versions read it."""
    parts = {
        "state": row.state.to_dict(), "ledger": row.ledger.to_dict(), "task": row.task, "threshold": row.learning.to_dict(),
        "counts": row.counts, "incumbent": row.incumbent, "facts": row.facts, "claims": row.claims,
        "trail": None if row.trail is None else row.trail.to_dict(),
        "account": None if row.account is None else row.account.to_dict(),
    }  # fmt: skip
    plain = {name: getattr(row, name) for name in PLAIN}
    return json.dumps({"id": row.id, **plain, **{name: json.dumps(part) for name, part in parts.items()}})


def from_json(text: str | bytes) -> Row:
    """The row that `to_json` gave; some parts may be missing in one of an older version."""
    given = json.loads(text)
    state, ledger, upgraded = _evidence(json.loads(given["state"]), json.loads(given["ledger"]))
    trail, account = (json.loads(given.get(name, "null")) for name in ("trail", "account"))
    return Row(
        state=state,
        ledger=ledger,
        task=json.loads(given["task"]),
        learning=learning_from_dict(json.loads(given["threshold"])),
        counts=json.loads(given["counts"]),
        incumbent=json.loads(given.get("incumbent", "null")),
        facts=json.loads(given.get("facts", "{}")),
        upgraded=upgraded,
        trail=None if trail is None or upgraded else Trail(**trail),
        account=None if account is None else Account.of(account),
        claims=json.loads(given.get("claims", "[]")),
        **{name: given[name] for name in PLAIN},
    )


def _evidence(state: dict[str, Any], ledger: dict[str, Any]) -> tuple[State, Ledger, str]:
    """State and ledger as stored; those of a version with other gates get today's, and why that is so."""
    if state["spec"].get("method") == METHOD:
        return state_from_dict(state), ledgers.ledger_from_dict(ledger), ""
    now = state_from_dict({**state, "spec": earlier.specification(state["spec"])})
    return now, ledgers.start(now), earlier.notice(state["spec"], ledger)
