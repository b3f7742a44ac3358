"""The soak: its mixture is what it says, its verdicts follow from its samples, and a small run gives everything back."""

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
import uvloop

from benchmarks import soak, soak_report
from benchmarks.mixture import CUT_STREAM, CUT_WAITING, STREAMED, TURNS, UNKNOWN, WHOLE, Mixture
from benchmarks.resident import Sample
from benchmarks.soak_report import Check, Soak


def bodies(requests: int) -> list[tuple[str, dict[str, object]]]:
    async def given() -> list[tuple[str, dict[str, object]]]:
        mixed = Mixture(1, requests, clients=0)
        found = []
        while (one := mixed.next()) is not None:
            head, _, body = one[1].partition(b"\r\n\r\n")
            assert b"content-length: %d" % len(body) in head
            found.append((one[0], json.loads(body)))
        return found

    return uvloop.run(given())


def test_the_mixture_has_its_shares() -> None:
    assert Counter(TURNS) == {WHOLE: 12, STREAMED: 5, CUT_STREAM: 1, CUT_WAITING: 1, UNKNOWN: 1}


def test_every_user_comes_and_no_unknown_name_comes_twice() -> None:
    given = bodies(100_000)
    assert len({body["user"] for _, body in given}) == 100_000
    unknown = [body["model"] for kind, body in given if kind == UNKNOWN]
    assert len(set(unknown)) == len(unknown) == 5_000


def run_of(memory: list[float]) -> Soak:
    found = Soak(requests=100 * (len(memory) - 1), clients=1, users=1, machine={}, descriptors_before=9)
    found.samples = [Sample(float(at), at * 100, mb, mb - 20, 9) for at, mb in enumerate(memory)]
    return found


@pytest.mark.parametrize(
    ("memory", "met"),
    [
        ([40.0] * 101, [True, True]),
        # What grows in the first half only is what a start costs.
        ([*range(30, 80), *[80.0] * 51], [True, True]),
        ([40.0 + at * 0.09 for at in range(101)], [True, True]),
        ([40.0 + at * 0.12 for at in range(101)], [False, True]),
        ([*[40.0] * 20, 160.0, *[40.0] * 80], [True, False]),
    ],
)
def test_verdicts(memory: list[float], met: list[bool], tmp_path: Path) -> None:
    found = run_of(memory)
    assert [one.met for one in found.targets] == met
    assert found.met == all(met)
    soak_report.write(found, tmp_path)
    assert ("**no**" in (tmp_path / "soak.md").read_text()) == (not all(met))
    assert json.loads((tmp_path / "soak.json").read_text())["met"] == all(met)


def test_a_failed_check_fails_the_run() -> None:
    found = run_of([40.0] * 101)
    found.checks = [Check("nothing under way", "1", False)]
    assert not found.met


@pytest.mark.slow
def test_a_small_run_gives_everything_back(tmp_path: Path) -> None:
    with ExitStack() as stack:
        gateway = soak.Gateway.start(tmp_path, stack)
        before = gateway.counted()
        found = uvloop.run(soak.load(gateway, 1000))
        now, clients, _ = soak.settled(gateway)
        assert [one for one in soak.counts(found, now, before) if not one.met] == []
        assert clients == 0
        assert not any(now[f"graduand_{name.replace(' ', '_')}", ""] for name in soak.BUSY)
        assert now["series", ""] < soak.MAX_SERIES
