"""The commands on a real Ray of two workers: the same stages, the same bytes, and errors that a person can read."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from graduand.gateway.cli import main
from graduand.gateway.errors import ConfigError
from graduand.rollout.answers.answers import Unparsed
from graduand.training.curation import pipeline
from graduand.training.data import labels, scores
from graduand.training.data.frozen import freeze
from graduand.training.data.samples import of_text, read_samples, write_samples
from graduand.training.engines.engine import EngineError, in_order
from graduand.training.engines.ray_data import Kin, RayData
from graduand.training.stages import stage
from tests.training.curation.test_curation import ticket
from tests.training.evaluation.test_evaluate import letter
from tests.training.quiet import Quiet
from tests.training.teacher.fake import Fake, chat, error
from tests.training.teacher.test_labelling import number, setting

pytestmark = [pytest.mark.usefixtures("two_workers"), pytest.mark.timeout(400)]
PLENTY = 60


@pytest.fixture
def ray() -> RayData:
    return RayData(None, 1, Kin.here((labels, scores), ("numpy",)))


def on_both(out: Path, *command: str) -> list[dict[str, Any]]:
    """The stage's record by either engine; all but the clock is the same."""
    records = []
    for engine in ("local", "ray"):
        assert main(["train", *command, "--out", str(out / engine), "--engine", engine]) == 0
        records.append(stage.read_record(out / engine / command[0]))
    local, by_ray = ({key: value for key, value in one.items() if key != "seconds"} for one in records)
    for one in (local, by_ray):
        one["figures"].pop("seconds", None)
    assert local == by_ray  # hashes of all files and the stage's name among them
    assert local["outputs"]
    return records


def test_curation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BATCH_ROWS", 30)
    known = ({"gold": "a"}, {"gold": "b"}, {"gold": "who knows"}, {}, {"user": "u", "notes": {"n": "1"}})
    samples = [ticket(n % 90, **known[n % len(known)]) for n in range(120)]
    samples = [
        of_text(f"t{n}", each.text, **{"completion": each.completion, **known[n % 5]}) for n, each in enumerate(samples)
    ]
    samples += [of_text("cyrillic", "Привет", completion="a"), of_text("unread", "hello", completion="what?")]
    samples += [of_text("like", samples[3].text + " !x", completion="a")]
    write_samples(tmp_path / "rows.jsonl", samples)
    steps = [
        {"rules": {"min_characters": 3}},
        {"rules": {"scripts": ["LATIN"]}},
        "near 0.8",
        "exact",
        "gold",
        "rank 0.1",
    ]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"task": {"labels": ["a", "b"]}, "steps": steps}))
    options = ["--data", str(tmp_path / "rows.jsonl"), "--config", str(tmp_path / "c.yaml")]
    figures = on_both(tmp_path, "curate", *options)[1]["figures"]
    dropped = {step["step"]: step["rows_in"] - step["rows_out"] for step in figures["steps"]}
    assert dropped["readable"] == dropped["rules"] == 1
    assert dropped["near"] > 30
    assert dropped["gold"] > 10


SLOW = pytest.mark.slow
CHAIN = ("first,second", "--combine", "chain", "--agree", "2")


@SLOW
@pytest.mark.parametrize("use", [("first",), CHAIN])
def test_labelling(tmp_path: Path, fake: Fake, use: tuple[str, ...]) -> None:
    options = setting(tmp_path, fake, rows=30)
    said = {"first": "ab?a", "second": "abbb"}
    fake.answer = lambda body: chat(said[body["model"]][number(body) % 4])
    fake.delay_s = 0.02
    del options[-2:]
    on_both(tmp_path, "label", *options, "--concurrency", "4", "--use", *use)
    asked = Counter((body["model"], number(body)) for body in fake.requests)
    assert set(asked.values()) == {2}  # once by each engine, which have ledgers of their own
    assert len(asked) == (60 if use == CHAIN else 30)
    assert fake.most_at_once <= 4


@SLOW
def test_a_budget_is_of_all_workers_and_is_used_up(
    tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each round sets aside the worst, and what it did not take is for the next one."""
    options = [*setting(tmp_path, fake, rows=40), "--use", "first", "--engine", "ray", "--concurrency", "8"]
    fake.answer = lambda body: chat("a")
    assert main(["train", "label", *options, "--budget-tokens", "600"]) == 1
    assert "the budget is spent" in capsys.readouterr().err
    ledger = tmp_path / "runs" / "teacher.ledger.jsonl"
    entries = [json.loads(line) for line in ledger.read_text().splitlines()]
    spent = sum(each["prompt_tokens"] + each["completion_tokens"] for each in entries)
    worst = 50  # of one more question
    assert 600 - worst <= spent <= 600
    assert len(entries) == len(fake.requests)
    assert main(["train", "label", *options]) == 0
    assert len(fake.requests) == 40  # nothing is paid for twice


@SLOW
def test_workers_share_the_rate(tmp_path: Path, fake: Fake) -> None:
    options = [*setting(tmp_path, fake, rows=6, requests_per_minute=300), "--use", "first"]
    fake.answer = lambda body: chat("a")
    assert main(["train", "label", *options, "--engine", "ray", "--concurrency", "4"]) == 0
    lines = (tmp_path / "runs" / "teacher.ledger.jsonl").read_text().splitlines()
    times = sorted(json.loads(line)["time"] for line in lines)
    # 300 a minute are one in .2 s: six take a second however many ask, less the time that an answer takes.
    assert times[-1] - times[0] >= 0.6


@SLOW
def test_a_teacher_that_lets_nobody_ask(tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        *setting(tmp_path, fake, rows=8, api_key={"env": "GRADUAND_NO_SUCH_KEY"}),
        "--use",
        "first",
        "--engine",
        "ray",
    ]
    assert main(["train", "label", *options]) == 2
    complaint = capsys.readouterr().err
    assert re.search(rf"GRADUAND_NO_SUCH_KEY is not set \(rows s\d to s\d, on {socket.gethostname()}\)", complaint)
    setting(tmp_path, fake, rows=8)
    fake.answer = lambda body: chat("a")
    fake.script = [error(401)]
    assert main(["train", "label", *options]) == 1
    assert "does not let us ask" in capsys.readouterr().err
    assert main(["train", "label", *options]) == 0


@SLOW
def test_killed_in_the_middle_it_goes_on_in_one_process(tmp_path: Path, fake: Fake) -> None:
    """A Ray of its own, which ends with it."""
    command = [*setting(tmp_path, fake, rows=60), "--use", "first", "--concurrency", "4"]
    fake.delay_s, fake.answer = 0.3, lambda body: chat("a")
    started = [sys.executable, "-m", "graduand", "train", "label", *command, "--engine", "ray"]
    run = subprocess.Popen(started, env={**os.environ, "PYTHONPATH": "."}, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while len(fake.requests) < 20 and time.monotonic() < until:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait(10)
    kept = (tmp_path / "runs" / "teacher.ledger.jsonl").read_bytes().count(b"\n")
    time.sleep(1)  # what is under way ends
    asked = len(fake.requests)
    assert 0 < kept < asked < 60
    assert asked - kept <= 2 * 4  # under way, or just come
    assert main(["train", "label", *command]) == 0
    assert len(fake.requests) - asked == 60 - kept
    assert len(read_samples(tmp_path / "runs" / "label")) == 60


@SLOW
@pytest.mark.parametrize("task", ["{labels: [A, B]}", "{kind: text}"])
def test_evaluation(trained: Path, tmp_path: Path, task: str) -> None:
    sets = {
        name: [letter(f"{name}-{n}", "ab"[n % 2], 1 + n * n % 7, gold="BA"[n % 3 == 0]) for n in range(rows)]
        for name, rows in (("balanced", 30), ("indist", 9))
    }
    for name, samples in sets.items():
        write_samples(tmp_path / "tests" / f"{name}.jsonl", samples)
    freeze(tmp_path / "tests", sets)
    options = ["--adapter", str(trained), "--tests", str(tmp_path / "tests"), "--threads", "1", "--most-tokens", "2"]
    if "labels" in task:
        write_samples(
            tmp_path / "valid.jsonl", [letter(f"v{n}", "cdefgh"[n] * 9, 2, gold="AB"[n % 2]) for n in range(6)]
        )
        options += ["--validation", str(tmp_path / "valid.jsonl")]
    on_both(tmp_path, "evaluate", "--task", task, *options)


def process(batch: pa.Table) -> pa.Table:
    return pa.table({"process": [os.getpid()] * batch.num_rows, "number": batch["number"]})


@SLOW
def test_both_workers_work_and_order_is_kept(ray: RayData) -> None:
    batches = [pa.table({"id": ["x"], "number": [n]}) for n in range(PLENTY)]
    found = pa.concat_tables(in_order(ray, process, batches, Quiet(), ""))
    assert found["number"].to_pylist() == list(range(PLENTY))
    assert len(set(found["process"].to_pylist()) - {os.getpid()}) == 2


def fails(batch: pa.Table) -> pa.Table:
    if batch["id"][0].as_py() == "row-3":
        raise KeyError("a mistake of ours")
    return batch


def refuses(batch: pa.Table) -> pa.Table:
    raise ConfigError("that is not how it is done; do it like this")


def dies(batch: pa.Table) -> pa.Table:
    os._exit(1)


@SLOW
@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        (fails, EngineError, r"failed: KeyError: 'a mistake of ours' at test_ray.py:\d+ \(rows row-3 to row-3, on "),
        (refuses, ConfigError, r"do it like this \(rows row-\d to row-\d, on "),
        (dies, EngineError, "Ray could not go on: .*run it again"),
    ],
)
def test_a_workers_error_says_what_and_where(ray: RayData, function: Any, kind: type[Exception], words: str) -> None:
    batches = [pa.table({"id": [f"row-{n}"]}) for n in range(5)]
    with pytest.raises(kind, match=words) as caught:
        in_order(ray, function, batches, Quiet(), "")
    assert "\n" not in str(caught.value)


@SLOW
def test_a_worker_with_another_graduand_is_refused() -> None:
    own = Kin.here((labels,), ("numpy",))
    for other, words in (
        (Kin(own.modules, own.packages, "0" * 64, own.versions), "another Graduand of the same version"),
        (Kin(own.modules, own.packages, own.code_sha256, {**own.versions, "numpy": "1.0"}), "has numpy "),
    ):
        with pytest.raises(EngineError, match=words):
            in_order(RayData(None, 1, other), process, [pa.table({"id": ["x"], "number": [1]})], Quiet(), "")


def test_a_label_that_cannot_be_read_stays_unread() -> None:
    from graduand.training.curation.facts import Look, facts

    task = labels.task_of({"labels": ["a", "b"]})
    from graduand.training.data import arrow

    [fact] = facts(Look(task, (), False)(arrow.table([of_text("x", "text", completion="neither")])))
    assert isinstance(fact.label, Unparsed)
    assert (fact.gold, fact.sketch) == (Unparsed("no gold"), None)
