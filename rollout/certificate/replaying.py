"""Lines of evidence read again: the same inputs to a fresh ledger give the same evidence.

Pure: the caller hands in lines in their order. Nothing here trusts what a line says that it led to; states are the fold of
events, evidence is that of the ledger, and what differs is told.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from graduand.rollout import ledger as ledgers
from graduand.rollout.certificate import claims
from graduand.rollout.gates.account import Account
from graduand.rollout.ledger import Answered, Awaited, Ledger, Pair
from graduand.rollout.state import Event, State, state_from_dict
from graduand.rollout.transitions import IllegalEvent, StaleVersion, apply

Json = dict[str, Any]
# How the outcome of a pair was found: by comparing the answers, by a judge, from the request alone, or not at all.
How = Literal["compared", "judged", "fell back", "missing"]
KINDS = frozenset(
    {"begin", "read", "served", "pair", "verdict", "label", "outcome", "tick", "event", "part", "certificate"}
)
# Not for a log: the salt would tell who gets the student, webhooks and keys are their owners' secrets.
LEFT_OUT = ("salt", "keys")
INFINITE = float("inf")
# What feeds gates that are made again from lines; another signal's evidence may come from elsewhere (labels of people, say).
MADE_AGAIN = ("agreement", "score", "incumbent", "latency", "check", "errors")
# Another machine's logarithms may differ in the last digit.
TOLERANCE = 1e-9
# Whether something happens to a unit for the first time, by the basis of the evidence.
First = Callable[[int, str, int], bool]


def shown(state: State) -> Json:
    """A state as a line keeps it."""
    plain = {name: value for name, value in state.to_dict().items() if name not in LEFT_OUT}
    return {**plain, "spec": {**plain["spec"], "notify": []}}


def pair_to_dict(pair: Pair) -> Json:
    """A pair as a line keeps it."""
    plain = asdict(pair)
    # Units are larger than a double holds, and names of slices are the request's own words.
    parts = [part.encode("utf-8", "replace").decode() for part in pair.slices]
    return {**plain, "unit": None if pair.unit is None else f"{pair.unit:x}", "slices": parts}


def pair_from_dict(data: Mapping[str, Any]) -> Pair:
    """The pair that `pair_to_dict` described."""
    unit = None if data["unit"] is None else int(data["unit"], 16)
    # Lines of an earlier version have fewer fields.
    names = [one for one in Pair.__dataclass_fields__ if one in data and one not in ("unit", "slices")]
    return Pair(**{name: data[name] for name in names}, unit=unit, slices=tuple(data["slices"]))


def event_to_dict(event: Event) -> Json:
    """An event as a line keeps it."""
    data = {name: value for name, value in event.data.items() if name not in LEFT_OUT}
    return {**event.to_dict(), "key": "", "data": data}


def where(state: State) -> Json:
    """Where a rollout stands, for readers of lines that do not fold its events."""
    return {
        "version": state.version, "phase": state.phase.value, "held": None if state.held is None else state.held.value,
        "hold": None if state.hold is None else state.hold.value, "step": state.step, "entry": state.entry,
        "basis": state.basis, "entered_at": state.entered_at, "updated_at": state.updated_at,
    }  # fmt: skip


@dataclass(slots=True)
class Replay:
    """A rollout's evidence, made again from its lines. `first` keeps what has happened to units."""

    first: First
    state: State | None = None
    ledger: Ledger | None = None
    digest: str = ""  # of the specification, as the rollout shows it
    task: Json = field(default_factory=dict)
    account: Json = field(default_factory=dict)
    claims: list[Json] = field(default_factory=list)

    def take(self, kind: str, body: Json) -> str:
        """Learn from one line; why it cannot be right, empty if it can."""
        if kind == "begin":
            return self._begin(body)
        if self.state is None or self.ledger is None:
            return "nothing has begun before it"
        if kind == "event":
            return self._event(self.state, self.ledger, body)
        with suppress(
            ArithmeticError, AttributeError, LookupError, TypeError, ValueError
        ):  # the rollout went on as well
            self._learn(self.ledger, kind, body)
            self.ledger.forget()  # nobody is asked here, and nothing is waited for
            self.ledger.await_outcomes()
        return ""

    def _begin(self, body: Json) -> str:
        state = state_from_dict({**body["state"], "salt": "", "keys": ()})
        self.digest, self.task, self.account = body["digest"], body["task"], body["account"]
        if self.state is None:
            self.state, self.ledger = state, ledgers.start(state).follow(state)
        elif json.loads(json.dumps(shown(self.state))) != body["state"]:
            return "the rollout was in another state"
        drawn = Account.of(body["account"]).drawn
        if (drawn.number, drawn.share) != (body["account"]["number"], body["account"]["share"]):
            return "the account of alpha does not add up"
        return "" if drawn.share == state.share else "the rollout has another share of alpha than it drew"

    def _event(self, state: State, ledger: Ledger, body: Json) -> str:
        given = body["event"]
        event = Event(**given)
        if event.kind == "retry":
            event = replace(event, data={**event.data, "salt": f"{event.version}"})
        claim = claims.of(state, ledger, event)
        try:
            after = apply(state, event)
        except (IllegalEvent, StaleVersion) as error:
            return f"the event is not possible: {error}"
        self.state, self.ledger = after, ledger.follow(after)
        if (led := where(after)) != {name: body[name] for name in led}:
            return f"it led elsewhere: {led}"
        if claim is not None:
            self.claims.append(claim)
        differs = difference(comparable(claim), comparable(body["claim"]))
        return f"its evidence is another: {differs}" if differs else ""

    def _learn(self, ledger: Ledger, kind: str, body: Json) -> None:
        if kind == "pair":
            ledger.pair(pair_from_dict(body), self._once)
        elif kind == "label":
            ledger.label(body["correct"])
        elif kind == "outcome":
            ledger.outcome(Awaited(**body["awaited"]), body["said"])
        elif kind == "tick":
            ledger.tick(body["at"], self._once)
        elif kind == "served":
            if body["arm"] is not None:
                ledger.unit(body["arm"])
            times = {name: INFINITE if one is None else one for name, one in body["times"].items()}
            ledger.answered(Answered(body["at"], body["student"], times))

    def _once(self, what: str, unit: int) -> bool:
        basis = 0 if self.state is None else self.state.basis
        return self.first(basis, what, unit)


def made_again(signal: str) -> bool:
    """Whether lines tell all that a gate of this signal learns from.

    >>> made_again("agreement:team@refunds"), made_again("latency:total:2.0"), made_again("correctness")
    (True, True, False)
    """
    return signal.partition("@")[0].partition(":")[0] in MADE_AGAIN


def comparable(claim: Json | None) -> Json | None:
    """A claim without the gates that nobody can make again."""
    if claim is None:
        return None
    return {**claim, "gates": [gate for gate in claim["gates"] if made_again(gate["signal"])]}


def difference(one: Any, other: Any, where: str = "") -> str:
    """Where two claims differ; empty if nowhere. Logarithms may differ in their last digits, and words follow from figures."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return _first(difference(one[name], other[name], f"{where} {name}") for name in one if name != "says")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return _first(
            difference(left, right, f"{where} {_named(left, at)}")
            for at, (left, right) in enumerate(zip(one, other, strict=True))
        )
    if isinstance(one, float | int) and isinstance(other, float | int) and not isinstance(one, bool):
        return (
            "" if abs(one - other) <= TOLERANCE * max(1.0, abs(one)) else f"{where.strip()} is {one!r}, not {other!r}"
        )
    return "" if one == other else f"{where.strip()} is {one!r}, not {other!r}"


def _first(found: Iterable[str]) -> str:
    return next(filter(None, found), "")


def _named(value: Any, at: int) -> str:
    return str(value["name"]) if isinstance(value, dict) and "name" in value else str(at)
