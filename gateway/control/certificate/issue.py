"""Issues the certificate of a promotion: what was proved, by which evidence, and the hashes that tie it to the log.

Nothing is decided or recomputed here. Everything that stands in a certificate stands in the rollout's evidence as well, or
is a hash of something that does; `gateway.control.certificate.verify` says so, or says what it cannot confirm.
"""

from pathlib import Path
from typing import Any

from graduand import __version__
from graduand.gateway.adapters import provenance
from graduand.gateway.control import journal
from graduand.gateway.control.certificate import parts
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.errors import AdapterError, RequestError
from graduand.gateway.logs.target import Target
from graduand.gateway.model import canonical
from graduand.gateway.model.evidence import Trail
from graduand.gateway.state import trail
from graduand.rollout.certificate import claims, replaying
from graduand.rollout.state import Event

FORMAT, VERSION = "graduand.certificate", 1
# What ties a certificate to the log, to the audit trail and to who vouches for it, and so cannot be part of its own digest.
TIED = ("evidence", "audit", "signature")

Json = dict[str, Any]


def issue(store: Rollouts, name: str, logs: str, now: float) -> Json:
    """The certificate of a rollout's latest promotion, unsigned; raise RequestError if there is none to certify.

    That it was issued becomes a line of the evidence, with its digest, and all lines are shipped to the log at `logs`.
    """
    with store.transaction():
        row = store.find(name)
        said = _said(store, row, now)
        journal.certificate(row, now, digest(said))
        store.write_row(row)
    parts.ship(store, Target(logs))
    lines = row.trail or Trail()
    return {
        **said,
        "evidence": {"lines": lines.number, "head": lines.head, "records": lines.records, "digest": lines.digest},
        "audit": _audit(store, _promotion(row)["audit"]),
    }


def digest(certificate: Json) -> str:
    """The hash of what a certificate says itself."""
    return canonical.sha256({name: value for name, value in certificate.items() if name not in TIED})


def _promotion(row: Row) -> Json:
    """The claim of the last promotion and what goes with it."""
    if row.trail is None:
        raise RequestError(
            409, f"rollout {row.id} was begun by an earlier version of Graduand, which did not write its evidence down; "
            "a rollout that begins now can be certified", code="no_evidence",
        )  # fmt: skip
    last: Json | None = next((one for one in reversed(row.claims) if one["claim"]["to"] == "promoted"), None)
    if last is None:
        raise RequestError(
            409, f"rollout {row.id} has not been promoted: it is in {row.state.phase}; a certificate is of a promotion",
            code="not_promoted",
        )  # fmt: skip
    return last


def _said(store: Rollouts, row: Row, now: float) -> Json:
    last = _promotion(row)
    state, spec = row.state, row.state.spec
    made = [one["claim"] for one in row.claims if one["claim"]["attempt"] == last["claim"]["attempt"]]
    return {
        "format": FORMAT,
        "version": VERSION,
        "issued": {"at": now, "by": f"graduand {__version__}"},
        "rollout": {
            "id": row.id, "route": spec.route, "student": spec.student, "phase": state.phase.value, "version": state.version,
            "promoted_at": last["claim"]["at"],
        },
        "specification": {"digest": spec.digest, "spec": replaying.shown(state)["spec"], "task": dict(row.task)},
        "adapter": _adapter(store, spec.student),
        "certified": all(map(claims.certified, made)),
        "claims": made,
        "threshold": row.learning.said if row.wants_threshold else None,
        "account": last["account"],
        "decisions": [decision(*one) for one in store.events(row.id)],
    }  # fmt: skip


def decision(version: int, phase: str, event: Event) -> Json:
    """One event as a certificate tells it: what was decided, by whom and why."""
    return {
        "version": version, "phase": phase, "kind": event.kind, "at": event.at, "who": event.actor, "reason": event.reason,
    }  # fmt: skip


def _adapter(store: Rollouts, name: str) -> Json:
    """The adapter by name, and what the files of one that was registered say of it."""
    found: Json = {
        "name": name,
        "digest": name.rpartition("@")[2] if "@" in name else None,
        "provenance": None,
        "why": None,
    }
    registered = next((one for one in store.state.adapters() if one.name == name), None)
    if registered is None:
        return {**found, "why": "it was not registered with `graduand adapters add`"}
    try:
        return {**found, "provenance": provenance.of(Path(registered.path))}
    except (AdapterError, OSError):
        return {**found, "why": "its folder cannot be read where the admin plane runs"}


def _audit(store: Rollouts, number: int | None) -> Json | None:
    """The promotion's event in the audit trail, and the way from there to the trail's end."""
    if number is None:
        return None
    links = store.state.trail(number - 1)
    at = next((at for at, one in enumerate(links) if one.number == number), None)
    if at is None or (at == 0 and number > 1):
        return None  # only so many events are kept
    event, later = links[at], links[at + 1 :]
    return {
        "number": number, "event": event.event, "previous": links[at - 1].hash if at else "",
        "later": [trail.content(one.number, one.event) for one in later],
        "head": {"number": links[-1].number, "hash": links[-1].hash},
    }  # fmt: skip
