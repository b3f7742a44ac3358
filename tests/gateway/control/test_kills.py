"""kill -9 of the controller and of workers at random points of a ramp: nobody moves back, nothing happens twice, and no
evidence is lost: every answer that somebody has seen has its record.

GRADUAND_KILLS says how often; the default is few, `make kills` runs 200.
"""

import os
import random
import time
from collections import defaultdict
from typing import Any

import pytest

from gateway.control.store import RolloutStore
from rollout.state import Phase, draft
from rollout.transitions import replay
from tests.gateway.control.conftest import Live
from tests.gateway.control.live import GOOD, Reply, Users, check_pairs, controller_id, kill
from tests.gateway.running import until

KILLS = int(os.environ.get("GRADUAND_KILLS", "8"))
WEIGHTS = (1, 2, 5, 10, 20, 30, 40, 50)
# A weight reaches every worker within this time, by contract; until then two workers may decide differently.
SPREADS_S = 1.0


@pytest.mark.timeout(60 + KILLS * 15)
def test_kills(live: Live) -> None:
    rng = random.Random(11)
    dwell = f"{max(0.5, KILLS * 0.12):.2f}s"
    canaries = [{"canary": {"weight": weight, "requests": 3, "dwell": dwell}} for weight in WEIGHTS]
    plan: list[Any] = [{"shadow": {"pairs": 60}}, *canaries, {"full": {"requests": 10, "dwell": "300ms"}}]
    killed: list[float] = []
    with Users(live.gateway.port, "killed", people=400, pause_s=0.002) as users:
        name = live.rollouts.start("killed", GOOD, steps=plan)
        while len(killed) < KILLS:
            time.sleep(rng.uniform(0.05, 0.9))
            one = controller_id(live.gateway) if rng.random() < 0.6 else rng.choice(live.gateway.worker_ids() or [None])
            if kill(one):
                killed.append(time.time())
        live.rollouts.until(name, "promoted", 60 + KILLS * 6)
    until(
        lambda: len(list((live.gateway.folder / "logs" / "journal").iterdir())) == 2,
        10,
        "the shipper has recovered all",
    )
    time.sleep(1.0)  # the last records are written and read
    _check(live, name, users.replies, killed)


def _check(live: Live, name: str, replies: list[Reply], killed: list[float]) -> None:
    store = RolloutStore(live.gateway.folder / "state.db")
    row, events = store.row(name), store.events(name)
    assert row is not None
    assert row.state.phase is Phase.PROMOTED
    # No transition twice: versions without a gap, each step entered once, and the events alone give the same state.
    assert [version for version, _, _ in events] == list(range(1, len(events) + 1))
    assert [event.kind for _, _, event in events].count("advance") == len(WEIGHTS) + 2
    start = draft(name, row.state.spec, row.state.salt, row.created_at)
    assert replay(start, [event for _, _, event in events]) == row.state
    tokens = store.tokens(name)
    assert tokens == sorted(tokens)
    _check_users(replies, [event.at for _, _, event in events])
    _check_evidence(live, row, killed, replies)
    store.close()


def _check_users(replies: list[Reply], moves: list[float]) -> None:
    """Once the student's, always the student's, but while a new weight is on its way to the workers."""
    by_user: dict[str, list[Reply]] = defaultdict(list)
    for reply in replies:
        by_user[reply.user].append(reply)
    for user, seen in by_user.items():
        # A request may wait for a killed worker's successor: it is decided somewhere between its beginning and its end.
        had_student = min((reply.ended for reply in seen if _of_student(reply)), default=float("inf"))
        for reply in seen:
            late = reply.began > had_student and not _spreading(reply.began, moves)
            assert not late or _of_student(reply), (user, had_student, reply)
    assert any(reply.reason == "canary" for reply in replies)


def _of_student(reply: Reply) -> bool:
    return reply.reason in ("canary", "student") or reply.reason.startswith("fallback:")


def _spreading(at: float, moves: list[float]) -> bool:
    return any(move <= at <= move + SPREADS_S for move in moves)


def _check_evidence(live: Live, row: Any, killed: list[float], replies: list[Reply]) -> None:
    records = live.gateway.records()
    pairs = check_pairs(row, records)
    written = {one["id"] for one in records}
    lost = [reply for reply in replies if reply.number not in written]
    assert not lost
    print(f"{len(killed)} kills, {len(replies)} answers, {pairs} pairs all counted, no record lost")
