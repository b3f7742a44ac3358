"""Tries a judge on planted pairs before a rollout asks it about a student. Asks over the network, and waits for it.

Must never let a judge through that was not heard: one that cannot be asked is a problem, not a pass.
"""

import time
from collections.abc import Mapping

from graduand.gateway.control.asking import AT_ONCE, JudgeClient, JudgeQuestion
from graduand.gateway.model.routes import Upstream
from graduand.rollout.answers import planted
from graduand.rollout.answers.judge import Messages
from graduand.rollout.answers.tasks import Judge

PATIENCE_S = 180.0
LOOK_S = 0.02
TRIES = 3

Key = tuple[int, int]


def problems(to: Judge, upstreams: Mapping[str, Upstream]) -> tuple[str, ...]:
    """Why this judge must not decide about a student; empty if it sees through all planted pairs."""
    upstream = upstreams.get(to.upstream)
    if upstream is None:
        return (f"the task's judge is behind upstream {to.upstream!r}, which the configuration does not have",)
    pairs = planted.pairs()
    questions: dict[Key, Messages] = {
        (number, at): messages for number, pair in enumerate(pairs) for at, messages in enumerate(pair.questions())
    }
    said, problem = _answers(to, upstream, questions)
    if problem:
        return (f"the judge {to.model} could not be tried on planted pairs: {problem}",)
    found = {pair: planted.judged(pair, (said[n, 0], said[n, 1])) for n, pair in enumerate(pairs)}
    return tuple(planted.problems(found))


def _answers(to: Judge, upstream: Upstream, questions: Mapping[Key, Messages]) -> tuple[dict[Key, str], str]:
    """The judge's raw verdicts, or why they are not all there."""
    asker, until = JudgeClient(), time.monotonic() + PATIENCE_S
    open_, said, failed = list(questions), dict[Key, str](), 0
    try:
        while len(said) < len(questions):
            room = min(asker.room(upstream.name, to.model), AT_ONCE)
            for key in open_[: max(room, 0)]:
                asker.offer(JudgeQuestion(key, upstream, to.model, questions[key]))
            open_ = open_[max(room, 0) :]
            for reply in asker.replies():
                if reply.text is not None:
                    said[reply.key] = reply.text
                    continue
                failed += 1
                if reply.final or failed > TRIES:
                    return said, reply.problem
                open_.append(reply.key)
            if time.monotonic() > until:
                return said, f"{len(said)} of {len(questions)} questions were answered in {PATIENCE_S:.0f} s"
            time.sleep(LOOK_S)
        return said, ""
    finally:
        asker.close()
