"""A real Prometheus that scrapes the small world of `make observe`, with faults in it: every panel and variable has data."""

import time
from collections.abc import Iterator

import pytest

from examples.demo.servers import Servers, free_port
from examples.observe.check import findings, values
from examples.observe.dashboards import boards, one_of, queries, substituted, variables
from examples.observe.prometheus import NoPrometheus, Prometheus, binary
from examples.observe.world import World
from tests.gateway.telemetry.receiver import Receiver
from tests.monitoring.test_grafana import rules

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WITHIN_S = 480.0
# The rollout is on its way, the engine has answered copies, monitors (which give way to all else) have looked, and alerts'
# windows have something in them.
ENOUGH = (
    'graduand_rollout_phase{phase=~"canary|full|promoted"}',
    "graduand_engine_first_token_seconds_count > 0",
    "graduand_engine_up == graduand_engine_replicas and on (upstream) graduand_adapter_resident == graduand_adapter_wanted",
    'graduand_fleet_places{state="ready"} == 1',
    "graduand_drift_evaluated_total > 0",
    'graduand_cost_dollars_total{purpose="audit"} > 0',
    'increase(graduand_traces_total{outcome="exported"}[1m]) > 0',
    "graduand_net_saved:dollars_per_hour",
)


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    try:
        binary("prometheus")
    except NoPrometheus as error:
        pytest.skip(str(error))
    folder, receiver = tmp_path_factory.mktemp("observe"), Receiver()
    with Servers(folder) as servers:
        world = World(folder, servers, engine=True)
        try:
            world.start(print, tracing={"endpoint": receiver.url})
            with Prometheus(folder / "prometheus", [world.admin], free_port(9090)) as prometheus:
                _wait(prometheus)
                yield prometheus
        finally:
            world.close()
            receiver.close()


def _wait(prometheus: Prometheus) -> None:
    until = time.monotonic() + WITHIN_S
    while missing := [query for query in ENOUGH if not prometheus.ask("query", query=query)["result"]]:
        assert time.monotonic() < until, f"never had data: {missing}"
        time.sleep(1)
    time.sleep(10)  # a few scrapes more: rates need two


def test_the_world_is_scraped_whole(observed: Prometheus) -> None:
    [target] = observed.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


def test_every_variable_and_every_panel_has_data(observed: Prometheus) -> None:
    found = list(findings(observed, prefer="ticket-queue"))
    assert {one.asked.board for one in found} == boards().keys()
    assert not (empty := [one for one in found if one.empty]), "\n".join(str(one.asked) for one in empty)


@pytest.mark.parametrize("uid", boards())
def test_chosen_values_are_understood(observed: Prometheus, uid: str) -> None:
    """With one or two values chosen, every query is still a query."""
    board = boards()[uid]
    known = {one["name"]: one_of(values(observed, one, {})[:2] if one["multi"] else values(observed, one, {})[:1])
             for one in variables(board)}  # fmt: skip
    for asked in queries(uid, board):
        observed.ask("query", query=substituted(asked.expr, known, scrape_s=15, step_s=15, range_s=3600))


def test_every_rule_is_evaluated(observed: Prometheus) -> None:
    groups = observed.ask("rules")["groups"]
    evaluated = [rule for group in groups for rule in group["rules"]]
    assert len(evaluated) == len(rules())
    assert not [(rule["name"], rule.get("lastError")) for rule in evaluated if rule["health"] != "ok"]
    for rule in rules():
        if "record" in rule:
            assert observed.ask("query", query=rule["record"])["result"], rule["record"]


def test_only_what_is_wrong_in_this_world_alerts(observed: Prometheus) -> None:
    """`flaky` fails on purpose; everything else is well."""
    pending_or_firing = observed.ask("query", query="ALERTS")["result"]
    found = {(one["metric"]["alertname"], one["metric"].get("route") or one["metric"].get("upstream", ""))
             for one in pending_or_firing}  # fmt: skip
    assert found <= {
        *(
            (f"Graduand{kind}{speed}Burn", "ticket-strict")
            for kind in ("Errors",)
            for speed in ("Fast", "Medium", "Slow")
        ),
        ("GraduandFallbacksHigh", "ticket-flaky"),
        ("GraduandBreakerOpen", "flaky"),
        *(("GraduandDriftAlarm", route) for route in ("ticket-queue", "ticket-flaky", "ticket-strict")),
    }
    assert ("GraduandErrorsFastBurn", "ticket-strict") in found
