"""The card: what traffic is, and why it is go, try or no-go; nothing unmeasured is a go."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from graduand.gateway.cli import main
from graduand.training.assess import curve, facts
from graduand.training.assess.curve import Law, Size
from graduand.training.assess.verdict import Agreement, Finding, Reached, findings, verdict
from graduand.training.data import labels
from graduand.training.data.samples import Sample, of_text, write_samples
from tests.training.teacher.fake import Fake, chat, running

TASK = labels.task_of({"labels": ["a", "b"]})
WORDS = {"a": ["parcel", "delivery", "courier", "late"], "b": ["invoice", "refund", "payment", "card"]}


def ticket(number: int) -> Sample:
    source = random.Random(number)
    label = "ab"[source.random() < 0.4]
    words = [*source.choices(WORDS[label], k=5), *(f"w{source.randrange(10**6)}" for _ in range(5))]
    return of_text(f"s{number}", " ".join(words), completion=label)


@pytest.mark.parametrize(
    ("answers", "kind", "readable"),
    [
        (["yes", "No.", "yes"] * 10, "label", 1.0),
        (['{"a": 1}', '```json\n{"a": 2}\n```', "sorry"] + ['{"a": 3}'] * 27, "json", 29 / 30),
        ([f"a long answer number {n}" for n in range(30)], "text", 1.0),
    ],
)
def test_what_outputs_are(answers: list[str], kind: str, readable: float) -> None:
    found = facts.of_outputs(answers, None)
    assert (found.kind, found.readable) == (kind, readable)


def test_an_unreadable_answer_is_counted_and_is_no_label() -> None:
    found = facts.of_outputs(["a", "b", "a", "I am not sure"], TASK)
    assert (found.readable, found.labels) == (0.75, {"a": 2, "b": 1})
    assert found.unread == {"'i am not sure' is none of the labels": 1}


def test_how_broad_inputs_are() -> None:
    same = [of_text(f"s{n}", f"the same words again {n % 2}") for n in range(50)]
    broad = [ticket(n) for n in range(50)]
    assert facts.of_inputs(same).distinct == 2
    assert facts.of_inputs(same).unseen_words == 0
    assert facts.of_inputs(broad).distinct == 50
    assert facts.of_inputs(broad).unseen_words > 0.4


def test_a_known_law_is_found_again() -> None:
    real = Law(0.05, 2.0, 0.5)
    sizes = [Size(rows, 1 - real.error(rows), 0.0) for rows in (100, 200, 400, 800, 1600)]
    found = curve.law(sizes)
    assert found is not None
    assert found.floor == pytest.approx(0.05, abs=0.02)
    needed = curve.rows_needed(found, 0.9, 1600)
    assert needed == pytest.approx(1600, rel=0.2)
    assert curve.rows_needed(found, 0.97, 1600) is None
    assert curve.law(sizes[:3]) is None
    assert curve.law([Size(rows, 0.8, 0.0) for rows in (1, 2, 3, 4)]) is None


def test_a_learning_curve_never_has_a_text_on_both_sides() -> None:
    texts = [ticket(n % 60).text for n in range(240)]  # each text four times: memory alone would be perfect
    random.Random(0).shuffle(texts)
    noise = random.Random(1)
    label_of = {text: noise.choice("ab") for text in sorted(set(texts))}
    sizes = curve.learn(texts, [label_of[text] for text in texts])
    assert sizes[-1].agreement < 0.75


def inputs(distinct: int = 1000) -> facts.Inputs:
    return facts.Inputs(distinct, distinct, 0.0, 0, 10, 20, 0.1)


def outputs(kind: str = "label", readable: float = 1.0, words: float = 1.0, distinct: int = 2) -> facts.Outputs:
    return facts.Outputs(kind, 1000, readable, distinct, 1.0, 0.5, words, words, {}, {})  # type: ignore[arg-type]


GOOD = Agreement(98, 100, "asked twice")
REACHED = Reached(0.6, 0.93, 800, 700)


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (findings(inputs(), outputs(), GOOD, REACHED), "go"),
        (findings(inputs(), outputs(), None, REACHED), "try"),
        (findings(inputs(), outputs(), GOOD, None), "try"),
        (findings(inputs(300), outputs(), GOOD, REACHED), "try"),
        (findings(inputs(20), outputs(), GOOD, REACHED), "no-go"),
        (findings(inputs(), outputs(readable=0.7), GOOD, REACHED), "no-go"),
        (findings(inputs(), outputs(distinct=1), GOOD, REACHED), "no-go"),
        (findings(inputs(), outputs("text", words=30), GOOD, None), "try"),
        (findings(inputs(), outputs("text", words=400), GOOD, None), "no-go"),
        (findings(inputs(), outputs(), Agreement(60, 100, ""), REACHED), "no-go"),
        (findings(inputs(), outputs(), Agreement(5, 5, ""), REACHED), "try"),
        (findings(inputs(), outputs(), GOOD, Reached(0.6, 0.8, 800, 9000)), "try"),
        (findings(inputs(), outputs(), GOOD, Reached(0.6, 0.8, 800, None)), "try"),
        (findings(inputs(), outputs(), GOOD, Reached(0.6, 0.6, 800, None)), "try"),
    ],
)
def test_verdicts(found: list[Finding], level: str) -> None:
    assert verdict(found) == level
    assert all(each.why for each in found)


def record(number: int, sample: Sample, answer: str) -> bytes:
    assert sample.messages is not None
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    values = {"id": f"r{number}", "time": 1.0, "role": "served", "reason": "teacher",
              "route": "tickets", "arm": "teacher", "status": 200, "completed": True,
              "unit_hash": number % 7 + 1, "request_json": json.dumps({"messages": list(sample.messages)}),
              "response_json": json.dumps({"choices": [choice]})}  # fmt: skip
    return json.dumps(values).encode() + b"\n"


def test_from_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [ticket(n) for n in range(150)]
    lines = [record(n, sample, str(sample.completion)) for n, sample in enumerate(asked)]
    lines += [
        record(1000 + n, asked[n], str(asked[n].completion) if n else "b" if asked[0].completion == "a" else "a")
        for n in range(40)
    ]
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_bytes(b"".join(lines))
    command = ["train", "assess", "--from", str(tmp_path / "logs"), "--out", str(tmp_path / "runs")]
    assert main([*command, "--route", "tickets", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["verdict"] == "try"
    assert figures["inputs"]["users"] == 7
    assert figures["outputs"]["kind"] == "label"
    assert (figures["teacher_with_itself"]["same"], figures["teacher_with_itself"]["asked"]) == (39, 40)
    assert figures["baselines"]["tfidf"] > figures["baselines"]["majority"]
    page = (Path(figures["path"]) / "report.md").read_text()
    assert page.startswith("# Fit for a student? Try")
    assert len(page.splitlines()) < 70
    assert main([*command, "--route", "ticket"]) == 1
    assert main(command) == 2


def test_a_teacher_is_asked_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(tmp_path / "rows.jsonl", [ticket(n) for n in range(60)])
    with running() as fake:
        fake.answer = lambda body: chat("b" if len(fake.requests) == 25 else "a")
        (tmp_path / "teachers.yaml").write_text(
            yaml.safe_dump({"teachers": {"t": {"base_url": f"{fake.url}/v1", "model": "t"}}})
        )
        command = ["train", "assess", "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "runs"), "--json"]
        assert (
            main([*command, "--teachers", str(tmp_path / "teachers.yaml"), "--twice", "20", "--concurrency", "1"]) == 0
        )
        figures = json.loads(capsys.readouterr().out)
        assert len(fake.requests) == 40
        assert figures["teacher_with_itself"] == {"same": 19, "asked": 20, "how": "asked twice of t"}
        assert figures["baselines"] is None  # too few rows
        assert isinstance(fake, Fake)


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(tmp_path / "rows.jsonl", [of_text("a", "x")])
    command: list[Any] = ["train", "assess", "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "runs")]
    assert main(command) == 1
    assert "has an answer" in capsys.readouterr().err
    assert main([*command, "--route", "x"]) == 2
