"""The journal's file is whole at every moment: a writer that is killed leaves what it has put, however it ends."""

import ast
import mmap
import multiprocessing
import os
import signal
import time
from pathlib import Path

from graduand.gateway.logs import journal
from graduand.gateway.logs.journal import Journal

ROOT = Path(__file__).parents[3]
LINE = b'{"id":"one"}\n'


def _put_for_ever(path: Path) -> None:
    ring = Journal(path)
    for _ in range(40):
        ring.put(LINE)
    while True:  # always 40 records that no segment has
        ring.commit(ring.put(LINE) - 40 * (len(LINE) + 4))


def test_at_every_moment_the_file_says_what_was_put(tmp_path: Path) -> None:
    """A kill leaves the file as it is in that moment: so each look at a live file stands for one kill."""
    path = tmp_path / "w-1.ring"
    process = multiprocessing.get_context("fork").Process(target=_put_for_ever, args=(path,), daemon=True)
    process.start()
    while not path.exists():
        time.sleep(0.001)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 24, access=mmap.ACCESS_READ) as mapped:
        raw = memoryview(mapped)
        words = raw.cast("Q")  # magic, head, tail
        try:
            while not words[2]:
                time.sleep(0.001)
            heads, tails = _looked(words, 1), _looked(words, 2)
        finally:
            process.kill()
            process.join()
            words.release()
            raw.release()
    assert heads == sorted(heads)
    assert tails == sorted(tails)
    assert journal.uncommitted(path)[:1] == [LINE]


def _looked(words: "memoryview[int]", at: int) -> list[int]:
    """What stood there, look by look, until it has changed 2,000 times."""
    looks, changes = [words[at]], 0
    while len(looks) < 100_000 or changes < 2_000:
        looks.append(words[at])
        changes += looks[-1] != looks[-2]
    return looks


def test_a_killed_writer_leaves_every_record(tmp_path: Path) -> None:
    path, known = tmp_path / "w-1.ring", [b"%d\n" % number for number in range(1000)]

    def put_and_die() -> None:
        ring = Journal(path)
        for line in known:
            ring.put(line)
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=put_and_die)
    process.start()
    process.join()
    assert [one.name for one in journal.left_behind(tmp_path)] == [path.name]
    assert journal.uncommitted(path) == known


def test_a_journal_that_was_committed_is_gone_when_it_is_closed(tmp_path: Path) -> None:
    for committed in (True, False):
        ring = Journal(tmp_path / f"{committed}.ring")
        position = ring.put(LINE)
        if committed:
            ring.commit(position)
        ring.close()
    assert [path.name for path in tmp_path.iterdir()] == ["False.ring"]


def test_nothing_is_packed_into_memory_that_others_read() -> None:
    """`pack_into` fills its target with zeros before it writes: in a mapped file others see them, and a kill leaves them."""
    found = [
        f"{path}:{node.lineno}"
        for folder in ("gateway", "monitoring", "rollout", "training")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "pack_into"
    ]
    assert found == []
