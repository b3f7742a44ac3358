"""Three real replicas over one real Redis, which is killed and started again under load, as their controllers are.

Minutes long. GRADUAND_KILLS says how often; the run prints its figures.
"""

import json
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.rollout.state import Phase, draft
from graduand.rollout.transitions import replay
from tests.gateway.control.live import GOOD, TASK, TEACHER, Recorded, Users, controller_id, kill, pairs_of, stored
from tests.gateway.control.live import Rollouts as Api
from tests.gateway.redises import RedisServer
from tests.gateway.running import Gateway, route, until, upstream

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("GRADUAND_KILLS", "16"))
WEIGHTS = (1, 2, 5, 10, 20, 30, 40, 50)
REPLICAS = 3
Json = dict[str, Any]


@dataclass
class Fleet:
    """What the test drives."""

    redis: RedisServer
    gateways: list[Gateway]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    recorded = Recorded(tmp_path)
    (tmp_path / "redis").mkdir()
    redis = RedisServer(tmp_path / "redis")
    section = {
        **route("teacher"), "teacher": {"upstream": "teacher", "model": TEACHER}, "unit": "user", "task": TASK,
        "student": {"upstream": "students", "adapter": GOOD},
    }  # fmt: skip
    upstreams = {"teacher": upstream(f"{recorded.url}/v1"), "students": upstream(f"{recorded.url}/v1", kind="vllm")}
    gateways = []
    for number in range(REPLICAS):
        folder = tmp_path / f"replica-{number}"
        folder.mkdir()
        gateways.append(Gateway(folder, upstreams, {"triage": section}, state=redis.url))
    yield Fleet(redis, gateways)
    for gateway in gateways:
        gateway.stop()
    redis.kill()
    recorded.close()
    for gateway in gateways:
        assert "Traceback" not in gateway.errors, gateway.errors


@pytest.mark.timeout(240 + KILLS * 50)
def test_redis_and_controllers_are_killed_during_a_ramp(fleet: Fleet) -> None:
    rng = random.Random(5)
    canaries = [{"canary": {"weight": weight, "requests": 20, "dwell": f"{KILLS * 0.15:.2f}s"}} for weight in WEIGHTS]
    plan: list[Any] = [{"shadow": {"pairs": 100}}, *canaries, {"full": {"requests": 20, "dwell": "300ms"}}]
    down: list[tuple[float, float]] = []
    led = Counter[str]()
    users = [Users(gateway.port, "triage", people=4_000, threads=2) for gateway in fleet.gateways]
    name = Api(fleet.gateways[0]).start("triage", GOOD, steps=plan)
    for number in range(KILLS):
        time.sleep(rng.uniform(0.3, 1.5))
        if number % 2:
            led["controllers killed"] += kill(controller_id(rng.choice(fleet.gateways)))
        else:
            fleet.redis.kill()
            killed = time.time()
            time.sleep(rng.uniform(0.05, 1.5))
            fleet.redis.start()
            down.append((killed, time.time()))
    Api(fleet.gateways[-1]).until(name, "promoted", 120 + KILLS * 40)
    time.sleep(1)
    for one in users:
        one.stop()
    replies = [reply for one in users for reply in one.replies]
    with_store = stored(fleet.gateways[0])

    def every_record() -> list[Json]:
        return [record for gateway in fleet.gateways for record in gateway.records()]

    def all_counted() -> bool:
        row = with_store.row(name)
        assert row is not None
        counted, there = pairs_of(row, every_record())
        return counted == there

    until(all_counted, "each pair that the logs have was counted once")
    records = every_record()
    _check_rollout(with_store, name, records)
    served = [one for one in records if one["role"] == "served"]
    assert sorted(one["id"] for one in served) == sorted(
        reply.number for reply in replies
    )  # each answered, each logged
    changes = _changes(with_store)
    spread = _check_assignment(fleet, changes, down)
    with_store.close()
    print(f"\n{len(down)} kills of Redis (away {sum(end - start for start, end in down):.1f} s in all), "
          f"{led['controllers killed']} of controllers, {len(replies)} answers by {REPLICAS} replicas, none failed, "
          f"{len(served)} assignments, none wrong; a new weight reached all replicas within "
          f"{statistics.median(spread):.2f} s (median), {max(spread):.2f} s (longest, Redis being there)")  # fmt: skip
    assert statistics.median(spread) < 1
    assert max(spread) < 5


def _check_rollout(store: Rollouts, name: str, records: list[Json]) -> None:
    row, events = store.row(name), store.events(name)
    assert row is not None
    assert row.state.phase is Phase.PROMOTED
    assert [version for version, _, _ in events] == list(range(1, len(events) + 1))
    kinds = Counter(event.kind for _, _, event in events)
    assert kinds["advance"] == len(WEIGHTS) + 2, kinds
    start = draft(name, row.state.spec, row.state.salt, row.created_at, row.state.share)
    assert replay(start, [event for _, _, event in events]) == row.state
    tokens = store.tokens(name)
    assert tokens == sorted(tokens)
    assert row.counts.get("seen before", 0) == 0
    print(f"\nevents {dict(kinds)}, tokens {tokens}, pairs {pairs_of(row, records)[0]}")


def _changes(store: Rollouts) -> list[Json]:
    """The route's changes in order: the n-th made its version n + 1."""
    told = [one for one in reversed(store.state.events(1000)) if one["subject"] == "route/triage"]
    return [one for one in told if "mode" in one]  # a monitor's alarm is told there too, and changes nothing


def _check_assignment(fleet: Fleet, changes: list[Json], down: list[tuple[float, float]]) -> list[float]:
    """Every request was assigned by a table that was in force, and no worker ever went back; how long each took."""
    spread = []
    first: dict[int, list[float]] = {}
    for gateway in fleet.gateways:
        seen: dict[int, float] = {}
        # All of them, also what was shipped meanwhile: a full segment is. One replica here has one worker.
        of_worker = [one for one in gateway.records() if one["role"] == "served"]
        _check_order([(_began(one), one["route_version"]) for one in of_worker])
        for one in of_worker:
            version, began = one["route_version"], _began(one)
            seen[version] = min(seen.get(version, began), began)
            expected = "teacher"
            if version > 1:
                change = changes[version - 2]
                weight = 10_000 if change["mode"] == "student" else change["weight_bp"]
                expected = "student" if change["mode"] != "shadow" and one["unit_bucket"] < weight else "teacher"
            assert one["assigned_arm"] == expected, one
        for version, at in seen.items():
            first.setdefault(version, []).append(at)
    for version, at in first.items():
        if version > 1 and len(at) == REPLICAS:
            made = changes[version - 2]["time"]
            if not any(start - 1 <= made <= end + 1 for start, end in down):
                spread.append(max(at) - made)
    return spread


def _began(record: Json) -> float:
    return float(record["time"]) - (record["timings"]["total_ms"] or 0) / 1000


def _check_order(served: list[tuple[float, int]]) -> None:
    """No table after a later one; two requests that began in the same moment may be told apart wrongly."""
    newest, pending = 0, list[tuple[float, int]]()
    for began, version in sorted(served):
        while pending and pending[0][0] < began - 0.05:
            newest = max(newest, pending.pop(0)[1])
        assert version >= newest, (began, version, newest)
        pending.append((began, version))


def test_a_replica_starts_while_redis_is_away(fleet: Fleet, tmp_path: Path) -> None:
    one, other = fleet.gateways[0], fleet.gateways[1]
    assert one.change("triage", mode="student", weight=100).status_code == 200
    until(lambda: _arm(one) == "student" == _arm(other), "the change is there")
    fleet.redis.kill()
    one.stop()
    again = Gateway(one.folder, one.settings["upstreams"], one.settings["routes"], state=fleet.redis.url)
    (tmp_path / "fresh").mkdir()
    routes = {"triage": {**one.settings["routes"]["triage"], "mode": "student"}}
    fresh = Gateway(tmp_path / "fresh", one.settings["upstreams"], routes, state=fleet.redis.url)
    fleet.gateways[0] = again
    fleet.gateways.append(fresh)
    assert (_arm(again), _arm(other), _arm(fresh)) == ("student", "student", "teacher")
    for gateway in fleet.gateways:
        until(lambda: "cannot be read" in _ready(gateway).get("warning", ""), "it says so")  # noqa: B023
        until(lambda: gateway.metrics()["graduand_state_up", ()] == 0, "and the metrics, too")  # noqa: B023
    fleet.redis.start()
    until(lambda: _arm(fresh) == "student", "the newcomer reads the store")
    until(lambda: _ready(fresh) == {"status": "ready"}, "and says so")
    fleet.redis.empty()
    time.sleep(1)
    assert {_arm(gateway) for gateway in fleet.gateways} == {"student"}
    assert other.change("triage", weight=1).status_code == 503
    accepted = other.admin.post("/v1/state/accept", json={"why": "it was flushed"})
    assert accepted.json() == {"accepted": True, "routes": ["triage"]}
    assert other.change("triage", mode="canary", weight=0).status_code == 200
    until(lambda: {_arm(gateway) for gateway in fleet.gateways} == {"teacher"}, "all follow the new store")


def _ready(gateway: Gateway) -> Json:
    with gateway.client() as client:
        ready = client.get("/readyz")
    assert ready.status == 200
    said: Json = json.loads(ready.body)
    return said


def _arm(gateway: Gateway) -> str:
    from tests.gateway.control.live import prompt

    with gateway.client() as client:
        got = client.ask({"model": "triage", "user": "ann", "messages": [{"role": "user", "content": prompt(3)}]})
    assert got.status == 200
    return got.headers["x-graduand-arm"]
