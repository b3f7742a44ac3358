"""The ledger: whole entries only, whatever killed its writer; one process at a time."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.training.teacher.ledger import AnswerLedger, Entry, LedgerError, opened

ENTRY = Entry("k", "s", "t", "m", "m-1", "simple", "v", {"temperature": 0}, 0, "1", "stop", 20, 5, True, 0.5, 0.1, 1.0)

WRITER = """
import sys
from pathlib import Path
from dataclasses import replace
from tests.training.teacher.test_ledger import ENTRY
from graduand.training.teacher.ledger import AnswerLedger
ledger = AnswerLedger(Path(sys.argv[1]))
for number in range(100_000):
    ledger.add(replace(ENTRY, key=f"k{number}", raw="x" * 3000))
    print(number, flush=True)
"""


def test_what_is_added_is_read_again(tmp_path: Path) -> None:
    with opened(tmp_path / "a" / "ledger.jsonl") as ledger:
        ledger.add(ENTRY)
        ledger.add(replace(ENTRY, key="other", dollars=None))
        assert (ledger.dollars, ledger.tokens) == (0.5, 50)
    with opened(tmp_path / "a" / "ledger.jsonl") as ledger:
        assert ledger.entries == {"k": ENTRY, "other": replace(ENTRY, key="other", dollars=None)}


@given(st.integers(min_value=0))
def test_a_cut_at_any_byte_loses_only_what_was_cut(tmp_path_factory: pytest.TempPathFactory, drawn: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "ledger.jsonl"
    with opened(path) as ledger:
        for number in range(5):
            ledger.add(replace(ENTRY, key=f"k{number}", raw="é" * number))
    data = path.read_bytes()
    cut = drawn % (len(data) + 1)
    path.write_bytes(data[:cut])
    with opened(path) as ledger:
        assert list(ledger.entries) == [f"k{number}" for number in range(data[:cut].count(b"\n"))]
        ledger.add(replace(ENTRY, key="after"))
    with opened(path) as ledger:
        assert list(ledger.entries)[-1] == "after"


def test_kill_9_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    assert writer.stdout is not None
    for _ in range(20):
        writer.stdout.readline()
    with pytest.raises(LedgerError, match="another process"):
        AnswerLedger(path)
    writer.send_signal(signal.SIGKILL)
    writer.wait(60)
    reported = 20 + len(writer.stdout.read().splitlines())
    with opened(path) as ledger:
        assert list(ledger.entries) == [f"k{number}" for number in range(len(ledger.entries))]
        assert len(ledger.entries) >= reported


def test_damage_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with opened(path) as ledger:
        ledger.add(ENTRY)
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(LedgerError, match="line 1 is no entry"):
        AnswerLedger(path)
    with pytest.raises(LedgerError, match="cannot open"):
        AnswerLedger(Path("/proc/none/ledger.jsonl"))
