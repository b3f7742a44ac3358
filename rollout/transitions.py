"""The state machine's tables: which events are legal in which phase, and what each does.

Two rules. An event that the table does not list, or whose version is stale, raises and changes nothing. And the way to
weight 0 is never barred: `trip` and `rollback` are legal wherever the student may be serving.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from graduand.gateway.errors import GraduandError
from graduand.rollout.state import ANEW, PASSING, STEPPING, Event, Hold, Phase, State, serving


class IllegalEvent(GraduandError, ValueError):
    """The event makes no sense in this state; nothing was changed."""


class StaleVersion(GraduandError, RuntimeError):
    """Somebody else changed the rollout first; nothing was changed. Look again, then decide again."""


Handler = Callable[[State, Event], State]
KEYS_KEPT = 64
# Verbs of people: their actor is recorded; those that override evidence also need a reason.
VERBS = frozenset(
    {"start", "pause", "resume", "approve", "deny", "promote", "skip", "abort", "retry", "rollback", "supersede"}
)
AUDITED = frozenset({"promote", "skip"})


def apply(state: State, event: Event) -> State:
    """The state after `event`; raises IllegalEvent or StaleVersion, and changes nothing, if it may not happen."""
    if event.key and event.key in state.keys:
        return state
    if event.version != state.version:
        raise StaleVersion(
            f"rollout {state.id} is at version {state.version}, but {event.kind!r} was meant for version "
            f"{event.version}; look at it again, then decide again"
        )
    handler = TABLE[state.phase].get(event.kind)
    if handler is None:
        legal = ", ".join(sorted(TABLE[state.phase])) or "nothing"
        raise IllegalEvent(f"{event.kind!r} is not possible in phase {state.phase}; possible now: {legal}")
    if event.kind in VERBS and not event.actor:
        raise IllegalEvent(f"{event.kind!r} needs an actor: say who asks for it")
    if event.kind in AUDITED and not event.reason:
        raise IllegalEvent(f"{event.kind!r} overrides the gates, so it needs a reason")
    # A clock that went back must not make time in a step negative.
    event = replace(event, at=max(event.at, state.updated_at))
    after = handler(state, event)
    keys = (*state.keys, event.key)[-KEYS_KEPT:] if event.key else state.keys
    return replace(after, version=state.version + 1, updated_at=event.at, note=event.reason, keys=keys)


def replay(state: State, events: Iterable[Event]) -> State:
    """The state after all events."""
    for event in events:
        state = apply(state, event)
    return state


def _enter(state: State, step: int, at: float) -> State:
    """Into step number `step`; past the last one, into PROMOTED."""
    last = len(state.spec.steps) - 1
    phase = Phase.PROMOTED if step > last else Phase(state.spec.steps[step].kind)
    return replace(_settled(state, phase), step=min(step, last), entry=state.entry + 1, entered_at=at, approval="none")


def _settled(state: State, phase: Phase) -> State:
    return replace(state, phase=phase, held=None, hold=None, held_at=0.0, held_s=0.0)


def _start(state: State, event: Event) -> State:
    return replace(_settled(state, Phase.PRECHECK), entered_at=event.at)


def _prechecked(state: State, event: Event) -> State:
    return _enter(state, 0, event.at)


def _advance(state: State, event: Event) -> State:
    step = state.upcoming
    if step is not None and step.approval and state.approval != "given":
        raise IllegalEvent(f"step {step.name} is entered only after approval, which is {state.approval!r}")
    return _enter(state, state.step + 1, event.at)


def _ask_approval(state: State, event: Event) -> State:
    if state.approval != "none":
        raise IllegalEvent(f"approval was {state.approval} already")
    return replace(state, approval="asked")


def _approve(state: State, event: Event) -> State:
    if state.approval != "asked":
        raise IllegalEvent(f"no approval is being asked for in step {state.step} (it is {state.approval!r})")
    return replace(state, approval="given")


def _deny(state: State, event: Event) -> State:
    if state.approval != "asked":
        raise IllegalEvent(f"no approval is being asked for in step {state.step} (it is {state.approval!r})")
    return _held(replace(state, approval="none"), Hold.DENIED, event.at)


def _held(state: State, why: Hold, at: float) -> State:
    if state.phase is Phase.HOLD:  # a person takes over a hold: what it interrupted stays the same
        return replace(state, hold=why)
    return replace(state, phase=Phase.HOLD, held=state.phase, held_at=at, hold=why)


def _pause(state: State, event: Event) -> State:
    return _held(state, Hold.PAUSED, event.at)


def _hold(state: State, event: Event) -> State:
    try:
        why = Hold(event.data.get("hold", ""))
    except ValueError:
        raise IllegalEvent(f"a hold needs one of the reasons {', '.join(Hold)}") from None
    return _held(state, why, event.at)


def _recover(state: State, event: Event) -> State:
    if state.hold not in PASSING:
        raise IllegalEvent(f"a hold for {state.hold} does not end by itself; resume it")
    return _resume(state, event)


def _resume(state: State, event: Event) -> State:
    phase = state.held or Phase.PRECHECK
    if state.hold in ANEW:
        return _enter(state, state.step, event.at)
    held_s = state.held_s + event.at - state.held_at
    return replace(_settled(state, phase), held_s=held_s)


def _promote(state: State, event: Event) -> State:
    _check_stepping(state, event)
    if event.data.get("full"):
        return _enter(state, len(state.spec.steps), event.at)
    return _enter(state, state.step + 1, event.at)


def _skip(state: State, event: Event) -> State:
    _check_stepping(state, event)
    if state.upcoming is None:
        raise IllegalEvent("the last step cannot be skipped; promote says that it is done")
    return _enter(state, state.step + 1, event.at)


def _check_stepping(state: State, event: Event) -> None:
    if state.phase is Phase.HOLD and state.held not in STEPPING:
        raise IllegalEvent(f"{event.kind!r} is not possible while held in {state.held}; retry or abort")


def _roll_back(state: State, event: Event) -> State:
    return replace(_settled(state, Phase.ROLLING_BACK), goal=Phase.ROLLED_BACK, approval="none")


def _zeroed(state: State, event: Event) -> State:
    return _settled(state, state.goal)


def _abort(state: State, event: Event) -> State:
    if serving(state).weight_bp:
        return replace(_settled(state, Phase.ROLLING_BACK), goal=Phase.ABORTED, approval="none")
    return replace(_settled(state, Phase.ABORTED), approval="none")


def _supersede(state: State, event: Event) -> State:
    return _settled(state, Phase.SUPERSEDED)


def _retry(state: State, event: Event) -> State:
    salt = event.data.get("salt")
    if state.phase is Phase.HOLD and state.held is not Phase.PRECHECK:
        raise IllegalEvent(f"a rollout held in {state.held} is resumed or rolled back, not retried")
    if not isinstance(salt, str) or not salt or salt == state.salt:
        raise IllegalEvent("a retry needs a new salt, or the users who had the last attempt would get this one too")
    again = replace(_settled(state, Phase.PRECHECK), salt=salt, step=-1, approval="none")
    again = replace(again, attempt=state.attempt + 1, entered_at=event.at, goal=Phase.ROLLED_BACK)
    return _renew(again, event) if event.data.get("anew") else again


def _renew(state: State, event: Event) -> State:
    """New evidence, at a share of the route's alpha that the event brings; the step goes on."""
    share = event.data.get("share", state.share)
    if not isinstance(share, float | int) or not 0 < share <= 1:
        raise IllegalEvent(f"new evidence needs a share of the route's alpha above 0 and at most 1; this is {share!r}")
    return replace(state, basis=state.basis + 1, share=float(share))


def _renewed(state: State, event: Event) -> State:
    """What the evidence is about has changed: what is known belongs to something else."""
    renewed = _renew(state, event)
    if renewed.phase in STEPPING:
        return _enter(renewed, renewed.step, event.at)
    return renewed


IN_A_STEP: dict[str, Handler] = {
    "trip": _roll_back,
    "pause": _pause,
    "approve": _approve,
    "deny": _deny,
    "promote": _promote,
    "skip": _skip,
    "abort": _abort,
    "rollback": _roll_back,
    "supersede": _supersede,
    "renew": _renewed,
}
STEP: dict[str, Handler] = {"advance": _advance, "ask_approval": _ask_approval, "hold": _hold, **IN_A_STEP}
TABLE: dict[Phase, dict[str, Handler]] = {
    Phase.DRAFT: {"start": _start, "abort": _abort, "supersede": _supersede},
    Phase.PRECHECK: {
        "prechecked": _prechecked,
        "hold": _hold,
        "pause": _pause,
        "abort": _abort,
        "supersede": _supersede,
    },
    Phase.SHADOW: STEP,
    Phase.CANARY: STEP,
    Phase.HYBRID: STEP,
    Phase.FULL: STEP,
    Phase.HOLD: {"recover": _recover, "resume": _resume, "retry": _retry, **IN_A_STEP},
    Phase.PROMOTED: {"trip": _roll_back, "rollback": _roll_back, "supersede": _supersede, "renew": _renewed},
    Phase.ROLLING_BACK: {"zeroed": _zeroed},
    Phase.ROLLED_BACK: {"retry": _retry, "supersede": _supersede},
    Phase.ABORTED: {"retry": _retry, "supersede": _supersede},
    Phase.SUPERSEDED: {},
}
