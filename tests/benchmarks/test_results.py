"""The benchmark's judgement: targets follow from the figures, and missing figures never count as met."""

import pytest

from benchmarks.columns import columns
from benchmarks.peers import DIRECT, GRADUAND, LITELLM, MONITORED, NGINX, VLLM, VLLM_SHIPPED
from benchmarks.report import markdown, scenario_table
from benchmarks.results import Cell, Results, targets
from benchmarks.scenarios import SCENARIOS


def results(**more: dict[str, Cell]) -> Results:
    return Results(settings={"rounds": 2}, cells=dict(more))


def rates(*values: float | None) -> Cell:
    return Cell([None if value is None else {"requests_per_s": value, "chunks_per_s": value} for value in values])


def met(judged: Results) -> list[bool | None]:
    return [target.met for target in targets(judged)]


def test_nothing_measured_meets_nothing() -> None:
    assert met(results()) == [None] * 8
    assert {target.measured for target in targets(results())} == {"not measured in this run"}


def test_reason_for_a_missing_figure_is_told() -> None:
    judged = results(small={GRADUAND: rates(10, 10), VLLM_SHIPPED: Cell([None, None], "ended with code 1")})
    judged.unavailable[LITELLM] = "cannot be installed"
    first, _, second, *_ = targets(judged)
    assert (first.measured, first.met) == (f"{VLLM_SHIPPED}: ended with code 1", None)
    assert (second.measured, second.met) == (f"{LITELLM}: cannot be installed", None)


@pytest.mark.parametrize(("on", "expected"), [(90, True), (89, False)])
def test_monitors_may_cost_a_tenth(on: float, expected: bool) -> None:
    judged = results(monitors={GRADUAND: rates(100, 50), MONITORED: rates(on, on / 2)})
    assert met(judged)[-1] is expected


def test_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The machine was ten times slower in the second round; the ratio was the same.
    judged = results(small={GRADUAND: rates(300, 30, 310), VLLM: rates(200, 20, 200)})
    assert judged.ratio("small", GRADUAND, VLLM, "requests_per_s") == pytest.approx(1.5)


def test_rounds_that_failed_are_left_out_of_ratios() -> None:
    judged = results(small={GRADUAND: rates(None, 40), VLLM: rates(1, 20)})
    assert judged.ratio("small", GRADUAND, VLLM, "requests_per_s") == 2


@pytest.mark.parametrize(("ours", "expected"), [(150, True), (149, False)])
def test_speed_targets(ours: float, expected: bool) -> None:
    small = {
        GRADUAND: rates(ours), VLLM_SHIPPED: rates(100), VLLM: rates(100), LITELLM: rates(ours / 100),
        NGINX: rates(ours / 0.35),
    }  # fmt: skip
    assert met(results(small=small))[:4] == [expected, expected, True, True]


@pytest.mark.parametrize(("ours", "expected"), [(0.30, True), (0.31, False)])
def test_added_latency_is_compared_with_vllm_router(ours: float, expected: bool) -> None:
    rows = {DIRECT: 0.02, GRADUAND: ours, VLLM: 0.30}
    single = {row: Cell([{"p50_ms": value}]) for row, value in rows.items()}
    assert met(results(single=single))[4] is expected


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [([(0, 0), (0, 0)], True), ([(0, 0), (1, 0)], False), ([(0, 2), (0, 0)], False)],
)
def test_one_stall_in_any_round_misses_the_target(rounds: list[tuple[float, float]], expected: bool) -> None:
    cell = Cell([{"stalled": stalled, "unfinished": unfinished} for stalled, unfinished in rounds])
    assert met(results(paced={GRADUAND: cell}))[5] is expected


def test_row_without_figures_keeps_its_place_and_reason() -> None:
    scenario = next(one for one in SCENARIOS if one.key == "small")
    judged = results(small={NGINX: rates(100)})
    judged.unavailable[VLLM] = "no | wheel"
    table = scenario_table(judged, scenario)
    assert f"| {VLLM} | not measured: no / wheel |" in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert widths == {len(columns(scenario)) + 2}


def test_report_names_every_scenario_that_was_measured() -> None:
    judged = results(small={NGINX: rates(100)}, full={NGINX: rates(100)})
    text = markdown(judged, targets(judged))
    assert [f"## {one.title}\n" in text for one in SCENARIOS] == [one.key in ("small", "full") for one in SCENARIOS]
