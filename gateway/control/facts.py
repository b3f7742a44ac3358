"""What a rollout's evidence is about, and whether that has changed: who the teacher is, by the configuration and by what its
upstream says, and the system prompt. Pure.

A value that came before comes back without notice: an upstream that answers with two names in turn is one teacher.
"""

from hashlib import sha256
from typing import Any

from graduand.gateway.control.store.rows import Row
from graduand.gateway.model.routes import Settings

CONFIGURED, SERVED = "teacher", "teacher as served"
PROMPTS, NOW = "system prompt", "system prompt now"
# The first pairs say which system prompts there are; more than so many are the traffic's own, and no fact.
LEARNT, MOST = 50, 20
# A new one is a change when so many requests in turn have it.
IN_TURN = 20


def served(row: Row, model: Any) -> str:
    """Note what the teacher's upstream calls itself; why the evidence has to start anew, empty if it has not."""
    return _noted(row, SERVED, model) if isinstance(model, str) and model else ""


def asked(row: Row, prompt: str) -> str:
    """Note a request's system prompt; why the evidence has to start anew, empty if it has not."""
    known, name = row.facts.setdefault(PROMPTS, []), sha256(prompt.encode()).hexdigest()[:12]
    if name in known:
        row.facts.pop(NOW, None)
        return ""
    if row.ledger.pairs < LEARNT and len(known) <= MOST:
        known.append(name)
        return ""
    if len(known) > MOST:
        return ""
    last, run = row.facts.get(NOW, ["", "0"])
    row.facts[NOW] = [name, str(int(run) + 1 if last == name else 1)]
    if int(row.facts[NOW][1]) < IN_TURN:
        return ""
    known.append(name)
    del row.facts[NOW]
    return f"the system prompt has changed (to one of hash {name}): new evidence"


def changed(row: Row, settings: Settings) -> str:
    """Note who the teacher is by the configuration; why the evidence has to start anew, empty if it has not."""
    route = settings.routes.get(row.state.spec.route)
    told = [row.renewal] if row.renewal else []
    row.renewal = ""
    if route is not None:
        told.append(_noted(row, CONFIGURED, f"{route.teacher.upstream}/{route.teacher.model}"))
    return "; ".join(one for one in told if one)


def _noted(row: Row, what: str, value: str) -> str:
    had = row.facts.setdefault(what, [])
    if value in had:
        return ""
    had.append(value)
    return f"{what} is now {value}, and was {had[-2]}: new evidence" if len(had) > 1 else ""
