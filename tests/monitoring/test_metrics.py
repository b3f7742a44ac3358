"""Counts that survive their process, are summed over workers, stay bounded, and are Prometheus' text."""

import multiprocessing
import os
import signal
import struct
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from graduand.monitoring import metrics as m
from graduand.monitoring import series
from graduand.monitoring.metrics import FAMILIES, LABELS, MAX_SERIES_PER_FAMILY, OTHER, Metrics, Totals, exposition
from graduand.monitoring.series import SeriesFile, SeriesFull, read


def worker(folder: Path, number: int = 0) -> Metrics:
    return Metrics(SeriesFile(folder / f"worker-{number}.series"))


def samples(folder: Path) -> dict[tuple[str, frozenset[str]], float]:
    """Every sample by name and label values."""
    page = exposition(Totals(folder)).decode()
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_counts_of_all_workers_are_summed(tmp_path: Path) -> None:
    for number in range(3):
        metrics = worker(tmp_path, number)
        metrics.add(m.REQUESTS, ("triage", "student", "ok"), 2)
        metrics.set(m.IN_FLIGHT, (), 1)
    found = samples(tmp_path)
    assert found["graduand_requests_total", frozenset({"triage", "student", "ok"})] == 6
    assert found["graduand_in_flight_requests", frozenset()] == 3


def test_a_restarted_worker_counts_on_but_its_gauges_do_not(tmp_path: Path) -> None:
    first = worker(tmp_path)
    first.add(m.REQUESTS, ("triage", "student", "ok"))
    first.observe(m.DURATION, ("triage", "student"), 0.03)
    first.set(m.IN_FLIGHT, (), 7)
    second = worker(tmp_path)
    second.add(m.REQUESTS, ("triage", "student", "ok"))
    second.observe(m.DURATION, ("triage", "student"), 0.03)
    found = samples(tmp_path)
    assert found["graduand_requests_total", frozenset({"triage", "student", "ok"})] == 2
    assert found["graduand_request_duration_seconds_count", frozenset({"triage", "student"})] == 2
    assert ("graduand_in_flight_requests", frozenset()) not in found


def _count_and_die(path: Path) -> None:
    metrics = worker(path)
    for number in range(1000):
        metrics.add(m.REQUESTS, (f"r{number % 10}", "teacher", "ok"))
    os.kill(os.getpid(), signal.SIGKILL)


def test_nothing_counted_is_lost_by_kill_9(tmp_path: Path) -> None:
    for _ in range(2):
        process = multiprocessing.get_context("fork").Process(target=_count_and_die, args=(tmp_path,))
        process.start()
        process.join()
    found = samples(tmp_path)
    assert {value for (name, _), value in found.items() if name == "graduand_requests_total"} == {200.0}


def _commit_for_ever(path: Path) -> None:
    file = SeriesFile(path)
    while True:
        file._commit()


def test_a_reader_sees_every_series_while_a_new_one_is_committed(tmp_path: Path) -> None:
    """A reader may look at any moment, and a restarted worker finds the file as a kill left it."""
    path = tmp_path / "worker-0.series"
    file = SeriesFile(path)
    for name in ("one", "two", "three"):
        file.cells(name, (), 1)
    process = multiprocessing.get_context("fork").Process(target=_commit_for_ever, args=(path,), daemon=True)
    process.start()
    try:
        found = {len(list(read(path))) for _ in range(10_000)}
    finally:
        process.kill()
        process.join()
    assert found == {3}


@pytest.mark.parametrize(
    ("cut", "known"), [("entry", 1), ("head", 0), ("empty", 0)]
)  # a worker killed between writing an entry and committing it, and before its first commit
def test_a_half_written_entry_is_not_read(tmp_path: Path, cut: str, known: int) -> None:
    path = tmp_path / "worker-0.series"
    file = SeriesFile(path)
    file.values[file.cells("one", (), 1)] = 5.0
    used = struct.unpack("<Q", path.read_bytes()[:8])[0]
    data = bytearray(path.read_bytes())
    data[used : used + 20] = b"\xff" * 20
    if cut == "entry":
        path.write_bytes(data)
    else:
        path.write_bytes(b"" if cut == "empty" else b"\0" * 5)
    assert len(list(read(path))) == known
    again = SeriesFile(path)
    again.values[again.cells("two", ("x",), 1)] = 6.0
    assert [value for _, value in read(path)][known:] == [[6.0]]


def test_cardinality_is_bounded_and_nothing_is_lost(tmp_path: Path) -> None:
    for start in range(2):  # also over a restart
        metrics = worker(tmp_path)
        for number in range(MAX_SERIES_PER_FAMILY * 2):
            metrics.add(m.UNIT_MISSING, (f"route-{start}-{number}",))
    mine = {
        labels: value for (name, labels), value in samples(tmp_path).items() if name == "graduand_unit_missing_total"
    }
    assert len(mine) <= MAX_SERIES_PER_FAMILY + 1
    assert sum(mine.values()) == 4 * MAX_SERIES_PER_FAMILY
    assert frozenset({OTHER}) in mine


def test_a_series_known_before_a_restart_is_still_its_own(tmp_path: Path) -> None:
    first = worker(tmp_path)
    for number in range(MAX_SERIES_PER_FAMILY):
        first.add(m.UNIT_MISSING, (f"r{number}",))
    second = worker(tmp_path)
    for number in range(MAX_SERIES_PER_FAMILY):
        second.add(m.UNIT_MISSING, (f"r{number}",))
    mine = {value for (name, _), value in samples(tmp_path).items() if name == "graduand_unit_missing_total"}
    assert mine == {2.0}


def test_histograms(tmp_path: Path) -> None:
    metrics = worker(tmp_path)
    for value in (0.0, 0.01, 0.011, 5.0, 1000.0):
        metrics.observe(m.DURATION, ("r", "teacher"), value)
    found = samples(tmp_path)
    name = "graduand_request_duration_seconds"
    buckets = {
        min(labels - {"r", "teacher"}): value for (one, labels), value in found.items() if one == name + "_bucket"
    }
    assert (buckets["0.01"], buckets["0.02"], buckets["5.12"], buckets["81.92"], buckets["+Inf"]) == (2, 3, 4, 4, 5)
    assert found[name + "_count", frozenset({"r", "teacher"})] == 5
    assert found[name + "_sum", frozenset({"r", "teacher"})] == pytest.approx(1005.021)


def test_any_label_value_can_be_scraped(tmp_path: Path) -> None:
    metrics, odd = worker(tmp_path), 'a"b\\c\nd{}=,ü🎓'
    metrics.add(m.UNIT_MISSING, (odd,))
    assert samples(tmp_path)["graduand_unit_missing_total", frozenset({odd})] == 1


def test_names_and_labels() -> None:
    for family in FAMILIES:
        assert family.name.startswith("graduand_")
        assert set(family.labels) <= LABELS.keys()
        assert family.help.endswith(".")
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_a_file_without_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "FILE_BYTES", 64)
    file = SeriesFile(tmp_path / "x.series")
    with pytest.raises(SeriesFull, match="no room for series"):
        file.cells("long", ("x" * 100,), 1)
