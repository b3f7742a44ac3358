"""A real gateway whose Redis comes, goes and comes back empty: it serves on, says so, and never a wrong arm."""

import json
from typing import Any

from tests.gateway.conftest import Start
from tests.gateway.redises import RedisServer
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import chat
from tests.gateway.upstream import Upstream


def ready(gateway: Gateway) -> Any:
    with gateway.client() as client:
        answer = client.get("/readyz")
    assert answer.status == 200
    return json.loads(answer.body)


def arm(gateway: Gateway) -> str:
    with gateway.client() as client:
        got = client.ask(chat("triage", user="ann"))
    assert got.status == 200
    return str(got.headers["x-graduand-arm"])


def test_a_first_start_without_redis_and_what_follows(start: Start, upstream: Upstream, tmp_path_factory: Any) -> None:
    redis = RedisServer(tmp_path_factory.mktemp("own"))
    redis.kill()
    gateway = start(
        {"t": configured(upstream.place("t").url), "s": configured(upstream.place("s").url)},
        {"triage": route("t", "s", mode="student")}, state=redis.url,
    )  # fmt: skip
    try:
        assert arm(gateway) == "teacher"  # the file's student may have been taken back
        assert "until it was the teacher answers everything" in ready(gateway)["warning"]
        assert str(redis.port) not in ready(gateway)["warning"]
        assert gateway.metrics()["graduand_state_up", ()] == 0
        assert gateway.metrics()["graduand_state_age_seconds", ()] > 0
        redis.start()
        until(lambda: arm(gateway) == "student", "an empty Redis became the store of a first start")
        until(lambda: ready(gateway) == {"status": "ready"}, "the warning is gone")
        assert gateway.change("triage", mode="canary", weight=0).status_code == 200
        until(lambda: arm(gateway) == "teacher", "the change is there")
        redis.lose()
        assert arm(gateway) == "teacher"
        redis.start()
        until(lambda: "come back empty" in gateway.errors, "the loss is told")
        assert "come back empty" in gateway.admin.get("/v1/state").json()["problem"]
        until(lambda: "the last route table stays in force" in ready(gateway).get("warning", ""), "the worker knows")
        assert arm(gateway) == "teacher"  # not the file's student again
        assert gateway.metrics()["graduand_state_up", ()] == 0
        assert gateway.admin.post("/v1/state/accept", json={}).json()["routes"] == ["triage"]
        until(lambda: ready(gateway) == {"status": "ready"}, "the new store is taken")
        assert arm(gateway) == "teacher"
        until(lambda: gateway.metrics()["graduand_state_up", ()] == 1, "it is up")
    finally:
        redis.kill()
