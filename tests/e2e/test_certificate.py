"""A certificate of a real promotion: a live gateway promotes, its log is moved elsewhere, the certificate is confirmed there,
and refused after one byte of one record is another. About three minutes, most of them the embedded engine's."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e import students
from tests.e2e.students import TASK, TEACHER, Server
from tests.gateway.control.live import Rollouts, Users
from tests.gateway.running import ROOT, Gateway, until, upstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Json = dict[str, Any]
STEPS = [{"shadow": {"pairs": 25, "t_max": "8m"}}, {"full": {"requests": 20, "dwell": "3s", "t_max": "8m"}}]
SEAL_S = 3


def graduand(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "graduand", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)


def test_a_promotion_is_certified_wherever_its_log_is(tmp_path: Path) -> None:
    student = students.fitted("good", tmp_path)
    students.write_answers(tmp_path / "answers.jsonl")
    teacher = Server(tmp_path, "teacher", "recorded-teacher", "--answers", str(tmp_path / "answers.jsonl"))
    engine = students.engine(tmp_path, "engine", student)
    route = {
        "teacher": {"upstream": "teacher", "model": TEACHER}, "student": {"upstream": "engine", "adapter": student.name},
        "unit": "user", "task": TASK, "timeouts": {"first_token_s": 60, "idle_s": 60},
    }  # fmt: skip
    upstreams = {"teacher": upstream(teacher.url), "engine": upstream(engine.url, kind="vllm")}
    gateway = Gateway(tmp_path, upstreams, {"good": route}, workers=2, record={"seal_s": SEAL_S})
    try:
        rollouts = Rollouts(gateway)
        name = rollouts.start("good", student.name, steps=STEPS, gates=["agreement 0.7"], audit=1.0, stale_after="2m")
        asked = list(itertools.islice(students.arrivals(1), 2000))

        def question(number: int) -> Json:
            while gateway.total("graduand_shadow_queue") > 4:
                time.sleep(0.1)
            return {"messages": asked[number % len(asked)], "temperature": 0, "max_tokens": 8}

        with Users(gateway.port, "good", threads=3, pause_s=0.6, question=question):
            rollouts.until(name, "promoted", 600)
        logs = tmp_path / "logs"
        until(lambda: bool(list(logs.glob("dt=*/**/*.parquet"))), "a part of the log is shipped", 300)
        written = graduand(
            "rollout", "certificate", "good", "--admin", gateway.admin_url, "--out", str(tmp_path / "proof.json")
        )
        assert written.returncode == 0, written.stderr
        assert "promoted by evidence" in written.stdout
    finally:
        gateway.stop()
        engine.stop()
        teacher.stop()
    assert "Traceback" not in gateway.errors, gateway.errors
    moved = tmp_path / "elsewhere"
    shutil.move(logs, moved)
    assert verified(tmp_path, moved, "--adapter", str(student)) == (4, 0)  # the adapter was not registered
    assert verified(tmp_path, moved) == (0, 0)
    part, changed = one_byte_changed(moved)
    assert verified(tmp_path, moved) == (3, 3), "a byte of a record"
    part.write_bytes(changed)
    assert verified(tmp_path, moved) == (0, 0)
    part.unlink()
    shutil.rmtree(moved / "segments", ignore_errors=True)  # what the target had already may stand there for a while
    assert verified(tmp_path, moved) == (3, 3), "a part is missing"


def verified(folder: Path, log: Path, *more: str) -> tuple[int, int]:
    """What the command and the independent verifier say."""
    proof = folder / "proof.json"
    ours = graduand("rollout", "verify", str(proof), "--log", str(log), *more)
    print(ours.stdout, ours.stderr)
    example = [sys.executable, str(ROOT / "examples" / "verify_certificate.py"), str(proof), "--log", str(log), *more]
    theirs = subprocess.run(example, capture_output=True, text=True, cwd=folder, timeout=300, check=False)
    print(theirs.stdout, theirs.stderr)
    return ours.returncode, theirs.returncode


def one_byte_changed(log: Path) -> tuple[Path, bytes]:
    """Let one answer say something else; the part, and what it was."""
    for part in sorted(log.glob("dt=*/**/*.parquet")):
        was = part.read_bytes()
        table = pq.ParquetFile(part).read()
        rows = table.to_pylist()
        at = next((at for at, row in enumerate(rows) if row["role"] == "shadow" and row["response_json"]), None)
        if at is None:
            continue
        answer = json.loads(rows[at]["response_json"])
        said = answer["choices"][0]["message"]["content"]
        answer["choices"][0]["message"]["content"] = chr(ord(said[0]) + 1) + said[1:]
        rows[at]["response_json"] = json.dumps(answer, separators=(",", ":"))
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), part)
        return part, was
    raise AssertionError("no part has a copy")
