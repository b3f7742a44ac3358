"""What copies may cost a day: counted exactly by several processes, by UTC's days, and over restarts."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway import cli
from graduand.gateway.admin import allowance
from graduand.gateway.control.study import planning
from graduand.gateway.dataplane.budget import AUDIT, DAY_S, SHADOW, Budgets, used
from graduand.gateway.model.routes import Budget, Route, Teacher
from graduand.rollout.spec import file as specfile
from tests.gateway.conftest import Start
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import chat
from tests.gateway.upstream import Upstream

NOON = 20_000 * DAY_S + DAY_S / 2


def budgeted(name: str = "triage", **limits: int) -> Route:
    return Route(name, Teacher("t", "m"), shadow_budget=Budget(**limits), audit_budget=Budget(requests_per_day=1))


def test_requests_of_a_day_of_utc(tmp_path: Path) -> None:
    budgets, triage = Budgets(tmp_path / "b"), budgeted(requests_per_day=3)
    assert [budgets.admit(triage, SHADOW, NOON) for _ in range(5)] == [True] * 3 + [False] * 2
    assert not budgets.admit(triage, SHADOW, NOON + DAY_S / 2 - 0.001)
    assert budgets.admit(triage, AUDIT, NOON)  # the teacher's copies have their own
    assert not budgets.admit(triage, AUDIT, NOON)
    assert budgets.admit(budgeted("other", requests_per_day=3), SHADOW, NOON)  # and so has another route
    assert budgets.admit(triage, SHADOW, NOON + DAY_S / 2)  # midnight
    assert used(tmp_path / "b", triage, SHADOW, NOON + DAY_S / 2) == (1, 0)


def test_tokens_are_counted_when_the_answer_has_ended(tmp_path: Path) -> None:
    budgets, triage = Budgets(tmp_path), budgeted(tokens_per_day=100)
    assert budgets.admit(triage, SHADOW, NOON)
    assert budgets.admit(triage, SHADOW, NOON)  # nobody knows yet what the first one costs
    budgets.spend(triage, SHADOW, 99, NOON)
    assert budgets.admit(triage, SHADOW, NOON)
    budgets.spend(triage, SHADOW, 50, NOON)
    assert not budgets.admit(triage, SHADOW, NOON)
    assert used(tmp_path, triage, SHADOW, NOON) == (3, 149)
    assert used(tmp_path, triage, SHADOW, NOON + DAY_S) == (0, 0)


def test_no_limit_counts_nothing(tmp_path: Path) -> None:
    budgets = Budgets(tmp_path / "b")
    assert all(budgets.admit(budgeted(), SHADOW, NOON) for _ in range(100))
    assert not (tmp_path / "b").exists()


def test_a_restart_begins_no_new_day_and_new_limits_count_on(tmp_path: Path) -> None:
    first = Budgets(tmp_path)
    assert first.admit(budgeted(requests_per_day=1), SHADOW, NOON)
    first.close()
    second = Budgets(tmp_path)
    assert not second.admit(budgeted(requests_per_day=1), SHADOW, NOON)
    assert second.admit(budgeted(requests_per_day=2), SHADOW, NOON)  # reloaded with more
    assert not second.admit(budgeted(requests_per_day=2), SHADOW, NOON)


def test_what_cannot_be_counted_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("a file where a folder should be")
    assert not Budgets(tmp_path / "b").admit(budgeted(requests_per_day=9), SHADOW, NOON)


@given(st.lists(st.floats(0, 40 * DAY_S), max_size=30), st.integers(1, 4))
def test_no_day_has_more_than_its_budget_while_the_clock_goes_on(
    tmp_path_factory: pytest.TempPathFactory, times: list[float], most: int
) -> None:
    budgets, triage = Budgets(tmp_path_factory.mktemp("days")), budgeted(requests_per_day=most)
    sent: dict[float, int] = {}
    for now in sorted(times):
        sent[now // DAY_S] = sent.get(now // DAY_S, 0) + budgets.admit(triage, SHADOW, now)
    budgets.close()
    asked = {now // DAY_S: sum(one // DAY_S == now // DAY_S for one in times) for now in times}
    assert sent == {day: min(most, count) for day, count in asked.items()}


def test_a_clock_that_was_far_ahead_does_not_end_copies_for_ever(tmp_path: Path) -> None:
    budgets, triage = Budgets(tmp_path), budgeted(requests_per_day=1)
    assert budgets.admit(triage, SHADOW, NOON + 4000 * DAY_S)
    assert budgets.admit(triage, SHADOW, NOON)
    assert not budgets.admit(triage, SHADOW, NOON - 60)


def _hammer(folder: Path, admitted: "multiprocessing.Queue[int]") -> None:
    budgets, triage = Budgets(folder), budgeted(requests_per_day=1000)
    admitted.put(sum(budgets.admit(triage, SHADOW, NOON) for _ in range(500)))


def test_exact_across_processes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=_hammer, args=(tmp_path, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    assert sum(queue.get(timeout=30) for _ in processes) == 1000
    for process in processes:
        process.join()


# What people are told.


def test_what_delays_a_rollout_is_said(tmp_path: Path) -> None:
    budgets, triage = Budgets(tmp_path), budgeted(requests_per_day=2, tokens_per_day=1000)
    assert allowance.delays(tmp_path, triage, NOON) == ()
    for _ in range(2):
        budgets.admit(triage, SHADOW, NOON)
    [told] = allowance.delays(tmp_path, triage, NOON)
    assert "shadow_budget" in told
    assert "2 of 2 requests, 0 of 1000 tokens" in told
    assert "2024-10-05 00:00 UTC" in told
    assert allowance.delays(tmp_path, triage, NOON + DAY_S) == ()


@pytest.mark.parametrize(
    ("a_day", "seconds", "waits"),
    [
        (float("inf"), 1000, "traffic"), (1000, 1000, "traffic"), (999, DAY_S + 1, "the day's copies"),
        (500, DAY_S + 500, "the day's copies"), (100, 9 * DAY_S + 100, "the day's copies"),
    ],
)  # fmt: skip
def test_a_plan_knows_the_budget(a_day: float, seconds: float, waits: str) -> None:
    spec = specfile.read(
        {"route": "triage", "student": "small@3f9c1a0b22de", "gates": ["agreement 0.5"], "cycle": "none"}
    )
    found = planning.plan(spec, 1.0, 0.98, planning.Sampling(1.0, a_day))
    shadow = found["steps"][0]
    assert (shadow["observations"], shadow["seconds"], shadow["waits_for"]) == (1000, pytest.approx(seconds), waits)
    assert shadow["too_slow"] == (seconds > 7 * DAY_S)


def test_tokens_are_reckoned_by_the_traffic() -> None:
    seen = planning.Traffic(per_s=1.0, tokens=50.0)
    assert planning.copies_a_day(Budget(tokens_per_day=5000), seen) == 100
    assert planning.copies_a_day(Budget(requests_per_day=80, tokens_per_day=5000), seen) == 80
    assert planning.copies_a_day(Budget(tokens_per_day=5000), None) == float("inf")


# The whole gateway.


@pytest.fixture(scope="module")
def gateway(start: Start, upstream: Upstream) -> Gateway:
    places: dict[str, Any] = {name: configured(upstream.place(name).url) for name in ("t", "s")}
    routes = {
        "shadowed": route("t", "s", mode="shadow", shadow_budget={"requests_per_day": 5}),
        "audited": route("t", "s", mode="student", audit_sample=100, audit_budget={"tokens_per_day": 1}),
    }
    return start(places, routes, workers=2)


def ask(gateway: Gateway, model: str, times: int) -> None:
    for _ in range(times):
        with gateway.client() as client:  # a connection each, so that both workers get some
            assert client.ask(chat(model)).status == 200


def copies(gateway: Gateway, name: str, outcome: str) -> float:
    return gateway.total("graduand_shadow_requests_total", name, outcome)


def test_copies_over_the_budget_are_not_sent_and_counted(gateway: Gateway, upstream: Upstream) -> None:
    ask(gateway, "shadowed", 20)
    until(lambda: copies(gateway, "shadowed", "over_budget") == 15, "copies are refused")
    until(lambda: copies(gateway, "shadowed", "ok") == 5, "copies are answered")
    assert upstream.places["s"].asked == 5
    for worker in gateway.worker_ids():
        os.kill(worker, signal.SIGKILL)
    until(lambda: gateway._ready(), "workers are back")
    ask(gateway, "shadowed", 4)
    until(lambda: copies(gateway, "shadowed", "over_budget") == 19, "a new worker knows the day")
    shown = gateway.admin.get("/v1/routes/shadowed").json()
    assert (shown["shadow_budget"]["requests_today"], shown["shadow_budget"]["used_up"]) == (5, True)
    assert shown["audit_budget"] is None


def test_audits_cost_money_too(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    ask(gateway, "audited", 1)
    until(lambda: copies(gateway, "audited", "ok") == 1, "the first audit has ended")
    ask(gateway, "audited", 3)
    until(lambda: copies(gateway, "audited", "over_budget") == 3, "tokens are used up")
    assert cli.main(["routes", "list", "--admin", gateway.admin_url]) == 0
    assert "shadowed: shadow copies have used 5 of 5 requests today" in capsys.readouterr().out
