"""The one place in which a rollout's ledger learns: what it is given is written down first, as a line of evidence.

Invariant: whoever reads the lines in their order and gives a fresh ledger the same (`rollout.certificate.replaying`) has the same
evidence, bit for bit. So nothing else may feed a ledger (tests/house holds that). Lines are stored with the ledger, in one
transaction. What changes no evidence, such as a request that only shows that there is traffic, has no line.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import orjson

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.model import evidence
from graduand.gateway.model.evidence import Trail
from graduand.rollout.assignment import Arm
from graduand.rollout.certificate import claims, replaying
from graduand.rollout.certificate.replaying import How as How
from graduand.rollout.gates.account import Account
from graduand.rollout.ledger import Answered, Awaited, Pair
from graduand.rollout.state import Event, State

Json = dict[str, Any]


def begin(row: Row, account: Account) -> None:
    """A basis of evidence begins: what it is about, and what it drew from the route's account of alpha."""
    if row.trail is None:
        row.trail = Trail()
    state = replaying.shown(row.state)
    row.account = account
    body = {"state": state, "digest": row.state.spec.digest, "task": row.task, "account": account.to_dict()}
    row.note("begin", row.state.updated_at, body)


def read(row: Row, line: bytes) -> None:
    """A record of the log was read."""
    if row.trail is not None:
        digest = evidence.digest(orjson.loads(line))
        row.trail.read(digest)
        row.unread.append(digest)


def served(row: Row, record: str, answered: Answered, unit: int = 0, arm: Arm | None = None) -> None:
    """A request was served; `arm` is that of a unit that is seen for the first time in this step."""
    timed = answered.by_student and any(one.startswith("latency:") for one in row.ledger.listened)
    if arm is not None or timed:
        body = {"at": answered.at, "record": record, "student": answered.by_student, "arm": arm, "unit": f"{unit:x}"}
        times = {name: None if math.isinf(one) else one for name, one in answered.times_s.items()}
        row.note("served", answered.at, {**body, "times": times if timed else {}})
    if arm is not None:
        row.ledger.unit(arm)
    row.ledger.answered(answered)


def pair(store: Rollouts, row: Row, given: Pair, how: How, records: tuple[str, ...]) -> bool:
    """A request that both were asked; whether a person may be asked about it."""
    row.note("pair", given.at, {**replaying.pair_to_dict(given), "how": how, "records": list(records)})
    return row.ledger.pair(given, partial(store.write_once, row))


def label(row: Row, at: float, record: str, label_id: str, *, correct: bool | None) -> None:
    """The label of the oldest draw is learnt from."""
    row.note("label", at, {"record": record, "label_id": label_id, "correct": correct})
    row.ledger.label(correct)


def outcome(row: Row, at: float, awaited: Awaited, said: Mapping[str, float | None]) -> None:
    """The deadlines of a request are over."""
    row.note("outcome", at, {"awaited": asdict(awaited), "said": dict(said)})
    row.ledger.outcome(awaited, said)


def verdicts(row: Row, at: float, record: str, model: str, said: Mapping[str, str | None]) -> None:
    """What a judge said of a request's answers, by the number of the question."""
    for number, text in sorted(said.items()):
        body = {"record": record, "question": int(number), "judge": model, "sha256": evidence.text_hash(text)}
        row.note("verdict", at, body, text)


def tick(store: Rollouts, row: Row, now: float) -> bool:
    """Time has passed; whether anything ended by that."""
    ended = row.ledger.tick(now, partial(store.write_once, row))
    if ended:
        row.note("tick", now, {"at": now})
    return ended


def claim(row: Row, event: Event) -> Json | None:
    """What an event that ends a step rests on; to be asked before it happens."""
    return claims.of(row.state, row.ledger, event)


def follow(row: Row, after: State, event: Event, claim: Json | None, audit: int | None) -> None:
    """An event happened, and its rollout is in the state `after`; `audit` is its number in the audit trail."""
    row.state = after
    body = {
        "event": replaying.event_to_dict(event), **replaying.where(after),
        "entry_version": row.entry_version, "attempt_version": row.attempt_version,
        "incumbent": None if row.incumbent is None else row.incumbent["adapter"], "claim": claim, "audit": audit,
    }  # fmt: skip
    row.note("event", event.at, body)
    if claim is not None:
        account = None if row.account is None else row.account.to_dict()
        row.claims.append({"claim": claim, "audit": audit, "account": account})
    row.ledger = row.ledger.follow(after)


def part(row: Row, at: float, name: str, digest: str, records: int) -> None:
    """A part of the log has records of this rollout."""
    row.note("part", at, {"name": name, "sha256": digest, "records": records})


def certificate(row: Row, at: float, digest: str) -> None:
    """A certificate was issued; `digest` is that of all that it says."""
    row.note("certificate", at, {"sha256": digest})
