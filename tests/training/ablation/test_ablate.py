"""The data-size curve: nested subsets, laws that come out again, and refusals."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.cli import main
from graduand.training.ablation import ablate_stage, laws, subsets
from graduand.training.ablation.laws import Point
from graduand.training.data.frozen import freeze
from graduand.training.data.labels import task_of
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, of_text, write_samples
from tests.training.quiet import Quiet

SIZES = (50, 100, 250, 500, 1000)
TASK = task_of({"labels": ["billing", "delivery"]})


def curve(floor: float, scale: float, power: float, bend: float = 0.0, noise: float = 0.0) -> list[Point]:
    wobble = (-1, 0, 1)
    return [
        Point(rows, seed, floor + scale / (bend + rows**power) + noise * wobble[seed])
        for rows in SIZES
        for seed in range(3)
    ]


@pytest.mark.parametrize(("floor", "scale", "power"), [(0.05, 2.0, 0.5), (0.0, 1.0, 0.25), (0.1, 5.0, 1.0)])
def test_a_power_law_comes_out_again(floor: float, scale: float, power: float) -> None:
    law, saturating = laws.fit(curve(floor, scale, power))
    assert (law.floor, law.scale, law.power) == pytest.approx((floor, scale, power), abs=0.02)
    assert law.error(2000) == pytest.approx(floor + scale / 2000**power, abs=0.002)
    assert saturating.miss <= law.miss + 1e-9


def test_a_bend_is_for_the_saturating_law() -> None:
    power, saturating = laws.fit(curve(0.05, 40.0, 0.95, bend=100.0))
    assert saturating.miss < 1e-3 < power.miss


def test_the_band_holds_the_truth_and_grows_with_noise() -> None:
    truth = 2.0 / 1000**0.5 - 2.0 / 2000**0.5
    quiet, loud = laws.band(curve(0.05, 2.0, 0.5, noise=0.003)), laws.band(curve(0.05, 2.0, 0.5, noise=0.02))
    assert quiet[0] <= truth <= quiet[1]
    assert quiet[1] - quiet[0] < loud[1] - loud[0]


def test_too_few_sizes_and_too_far_are_refused() -> None:
    with pytest.raises(DataError, match="4 sizes or more, and there are 3"):
        laws.fit([point for point in curve(0.1, 1, 0.5) if point.rows < 500])
    law, _ = laws.fit(curve(0.1, 1, 0.5))
    law.error(4000)
    with pytest.raises(DataError, match="more than 4 times"):
        law.error(4001)


def test_no_gain_is_no_gain() -> None:
    flat = [Point(rows, seed, 0.2) for rows in SIZES for seed in range(3)]
    assert laws.band(flat) == pytest.approx((0, 0), abs=1e-9)


@given(st.lists(st.text("abc", min_size=1), min_size=10, max_size=40, unique=True), st.integers(0, 9))
def test_subsets_are_nested(texts: list[str], seed: int) -> None:
    samples = [of_text(str(place), text) for place, text in enumerate(texts)]
    drawn = [subsets.subset(samples, size, seed) for size in (2, 5, len(samples))]
    assert drawn[1][:2] == drawn[0]
    assert drawn[2][:5] == drawn[1]
    assert subsets.subset(list(reversed(samples)), 5, seed) == drawn[1]


def tickets(count: int, start: int) -> list[Sample]:
    words = (("invoice", "charged", "refund", "price"), ("parcel", "late", "courier", "address"))
    return [
        of_text(str(n), f"{words[n % 2][n // 2 % 4]} number {n * 7919 % 1000} please {words[n % 2][n // 8 % 4]} {n}",
                completion=("billing", "delivery")[n % 2], gold=("billing", "delivery")[n % 2])
        for n in range(start, start + count)
    ]  # fmt: skip


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    write_samples(tmp_path / "tests" / "indist.jsonl", held := tickets(40, 1000))
    freeze(tmp_path / "tests", {"indist": held})
    return tmp_path / "tests"


def test_the_command_by_tfidf(tests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(tmp_path / "rows.jsonl", tickets(200, 0))
    command = ["train", "ablate", "--data", str(tmp_path / "rows.jsonl"), "--tests", str(tests), "--json",
               "--task", "{labels: [billing, delivery]}", "--out", str(tmp_path / "runs"), "--threshold", "0.9"]  # fmt: skip
    assert main([*command, "--shares", "0.5,1"]) == 1
    assert "give more --shares" in capsys.readouterr().err
    assert main(command) == 0
    figures = json.loads(capsys.readouterr().out)
    found = figures["tests"]["indist"]
    assert [size["rows"] for size in found["sizes"]] == [10, 20, 50, 100, 150, 200]
    assert found["sizes"][-1]["error"] <= found["sizes"][0]["error"]
    low, gain, high = found["gain_of_doubling"]
    assert low <= high
    assert gain >= 0
    assert "Doubling the 200 rows" in (Path(figures["path"]) / "report.md").read_text()


def test_a_killed_curve_goes_on(tests: Path, tmp_path: Path) -> None:
    write_samples(tmp_path / "rows.jsonl", tickets(120, 0))
    settings = ablate_stage.AblationSettings(TASK, "completion", (0.1, 0.2, 0.5, 1.0), 2, 0.9)
    calls: list[int] = []

    def learn(samples, learned, seed, asked):  # type: ignore[no-untyped-def]
        calls.append(len(samples))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return ablate_stage.with_tfidf(samples, learned, seed, asked)

    folder = tmp_path / "work"
    folder.mkdir()
    work = ablate_stage.work(tmp_path / "rows.jsonl", tests, settings, learn)
    with pytest.raises(KeyboardInterrupt):
        work(folder, Quiet())
    with (folder / ablate_stage.POINTS).open("a") as file:
        file.write('{"rows": 24, "se')
    work(folder, Quiet())
    assert len(calls) == 4 + 5
