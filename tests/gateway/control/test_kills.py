"""kill -9 of the controller and of workers at random points of a ramp: nobody moves back, nothing happens twice, and no
evidence is lost: every answer that somebody has seen has its record.

GRADUAND_KILLS says how often; the default is few, `make kills` runs 200.
"""

import os
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.rollout.state import Phase, draft
from graduand.rollout.transitions import replay
from tests.gateway.control.conftest import Live, running
from tests.gateway.control.live import GOOD, Reply, Users, controller_id, kill, pairs_of, stored
from tests.gateway.running import until

KILLS = int(os.environ.get("GRADUAND_KILLS", "5"))
WEIGHTS = (1, 2, 5, 10, 20, 30, 40, 50)
# A weight reaches every worker within this time, by contract. Not each one here: a worker may be given no time itself.
SPREADS_S = 1.0


@pytest.fixture
def live(state: str, tmp_path: Path) -> Iterator[Live]:
    """One of its own, with each backend."""
    with running(tmp_path, state) as live:
        yield live


@pytest.mark.timeout(60 + KILLS * 15)
def test_kills(live: Live) -> None:
    rng = random.Random(11)
    dwell = f"{max(0.5, KILLS * 0.12):.2f}s"
    canaries = [{"canary": {"weight": weight, "requests": 3, "dwell": dwell}} for weight in WEIGHTS]
    plan: list[Any] = [{"shadow": {"pairs": 60}}, *canaries, {"full": {"requests": 10, "dwell": "300ms"}}]
    killed: list[float] = []
    with Users(live.gateway.port, "killed", people=400, pause_s=0.01) as users:
        name = live.rollouts.start("killed", GOOD, steps=plan)
        while len(killed) < KILLS:
            time.sleep(rng.uniform(0.05, 0.9))
            one = controller_id(live.gateway) if rng.random() < 0.6 else rng.choice(live.gateway.worker_ids() or [None])
            if kill(one):
                killed.append(time.time())
        live.rollouts.until(name, "promoted", 60 + KILLS * 6)
    until(
        lambda: len(list((live.gateway.folder / "logs" / "journal").iterdir())) == 2,
        "the shipper has recovered all",
    )
    store = stored(live.gateway)

    def all_counted() -> bool:
        row = store.row(name)
        assert row is not None
        counted, there = pairs_of(row, live.gateway.records())
        return counted == there

    until(all_counted, "each pair that the log has was counted once")
    store.close()
    _check(live, name, users.replies, killed)


def _check(live: Live, name: str, replies: list[Reply], killed: list[float]) -> None:
    store = stored(live.gateway)
    row, events = store.row(name), store.events(name)
    assert row is not None
    assert row.state.phase is Phase.PROMOTED
    # No transition twice: versions without a gap, each step entered once, and the events alone give the same state.
    assert [version for version, _, _ in events] == list(range(1, len(events) + 1))
    assert [event.kind for _, _, event in events].count("advance") == len(WEIGHTS) + 2
    start = draft(name, row.state.spec, row.state.salt, row.created_at, row.state.share)
    assert replay(start, [event for _, _, event in events]) == row.state
    tokens = store.tokens(name)
    assert tokens == sorted(tokens)
    served = {one["id"]: one for one in live.gateway.records() if one["role"] == "served" and one["route"] == "killed"}
    assert not [reply for reply in replies if reply.number not in served]  # no record lost
    _check_users(replies, served)
    _check_spread(list(served.values()), store)
    store.close()
    pairs, _ = pairs_of(row, live.gateway.records())
    print(f"{len(killed)} kills, {len(replies)} answers, {pairs} pairs all counted, no record lost")


def _check_users(replies: list[Reply], served: dict[str, Any]) -> None:
    """Once the student's, always the student's, by the table that gave it the user and by all later ones."""
    by_user: dict[str, list[Reply]] = defaultdict(list)
    for reply in replies:
        by_user[reply.user].append(reply)
    for user, seen in by_user.items():
        tables = [served[reply.number]["route_version"] for reply in seen if _of_student(reply)]
        for reply in seen:
            late = tables and served[reply.number]["route_version"] >= min(tables)
            assert not late or _of_student(reply), (user, min(tables), reply)
    assert any(reply.reason == "canary" for reply in replies)


def _check_spread(served: list[Any], store: Rollouts) -> None:
    """How long after a change the last request was served by an older table; the n-th change made version n + 1."""
    told = [one for one in reversed(store.state.events(1000)) if one["subject"] == "route/killed"]
    stale_s = []
    for version, change in enumerate((one for one in told if "mode" in one), start=2):
        began = [one["time"] - one["timings"]["total_ms"] / 1000 for one in served if one["route_version"] < version]
        stale_s.append(max(began) - change["time"])
    assert len(stale_s) > len(WEIGHTS)
    assert statistics.median(stale_s) < SPREADS_S, stale_s


def _of_student(reply: Reply) -> bool:
    return reply.reason in ("canary", "student") or reply.reason.startswith("fallback:")
