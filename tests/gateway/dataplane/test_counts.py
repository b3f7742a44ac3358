"""Slots of three numbers that processes share: read as they were once written, whoever writes or was killed."""

import multiprocessing
from pathlib import Path

from graduand.gateway.dataplane.counts import SharedCounts, peek


def _write_for_ever(path: Path) -> None:
    counts, number = SharedCounts(path, 2), 0.0
    while True:
        number += 1.0
        with counts.locked(1):
            counts.write(1, number, number, number)


def test_who_takes_no_lock_sees_the_three_numbers_of_one_write(tmp_path: Path) -> None:
    """What one look finds is also what a killed writer leaves."""
    path = tmp_path / "counts"
    process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(path,), daemon=True)
    process.start()
    try:
        while peek(path, 1) == (0.0, 0.0, 0.0):
            pass
        looks = [peek(path, 1) for _ in range(5_000)]
    finally:
        process.kill()
        process.join()
    assert [look for look in looks if len(set(look)) > 1] == []
    assert looks == sorted(looks)
    assert looks[-1] > looks[0]


def test_a_writer_that_is_killed_leaves_a_whole_slot_that_others_count_on(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    counts = SharedCounts(path, 2)
    for kill in range(10):
        process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(path,), daemon=True)
        process.start()
        before = counts.read(1)
        while counts.read(1) == before:
            pass
        process.kill()
        process.join()
        period, requests, tokens = counts.read(1)
        assert period == requests == tokens > 0
        with counts.locked(1):  # the kernel lifted its lock
            counts.write(1, -kill, -kill, -kill)
        assert peek(path, 1) == (-kill, -kill, -kill)


def test_slots_are_apart_and_outlive_their_process(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    assert peek(path, 0) == (0.0, 0.0, 0.0)
    first = SharedCounts(path, 2)
    for slot, number in ((0, 1.0), (1, 2.0), (0, 3.0)):
        first.write(slot, number, number, number)
    first.close()
    more = SharedCounts(path, 3)
    assert [more.read(slot) for slot in range(3)] == [(3.0,) * 3, (2.0,) * 3, (0.0,) * 3]
    assert peek(path, 9) == (0.0, 0.0, 0.0)
