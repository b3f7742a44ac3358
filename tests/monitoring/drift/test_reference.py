"""A reference set: the same from the same rows, whole on disk or refused, without any text in it."""

import json
from pathlib import Path

import numpy as np
import pytest

from graduand.gateway.adapters import adapter
from graduand.gateway.cli import main
from graduand.monitoring.drift import DriftError, files
from graduand.monitoring.drift.mix import MixShift
from graduand.monitoring.drift.novelty import Novelty
from graduand.monitoring.drift.prompts import prompt_of
from graduand.monitoring.drift.reference import LEAST_ROWS, Reference, build, calibration_report
from graduand.monitoring.embedding.embedder import Embedder
from graduand.monitoring.embedding.named import load
from graduand.training.data.reference import write_beside
from graduand.training.data.rows import Row
from tests.monitoring.texts import prompts, recipes, tickets


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load("static")


@pytest.fixture(scope="module")
def made(embedder: Embedder) -> Reference:
    return build(prompts(tickets(700)), embedder, seed=3)


def test_written_and_read_it_is_the_same(made: Reference, tmp_path: Path) -> None:
    files.write(made, tmp_path, calibration_report(made, 1000))
    found = files.read(tmp_path)
    for name in ("points", "scale", "scores", "nulls"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    np.testing.assert_array_equal(found.whitening.directions, made.whitening.directions)
    assert (found.usual, found.spreads, found.embedder_digest) == (made.usual, made.spreads, made.embedder_digest)
    assert files.read(tmp_path / files.FOLDER).digest == found.digest


def test_it_holds_no_text(made: Reference, tmp_path: Path) -> None:
    folder = files.write(made, tmp_path, calibration_report(made, 1000))
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    assert not any(word.encode() in everything for text in tickets(50) for word in text.split() if len(word) > 7)


def test_what_is_broken_is_refused(made: Reference, tmp_path: Path) -> None:
    with pytest.raises(DriftError, match="make one: graduand train reference"):
        files.read(tmp_path)
    folder = files.write(made, tmp_path, calibration_report(made, 1000))
    (folder / files.POINTS).write_bytes(b"x" + (folder / files.POINTS).read_bytes())
    with pytest.raises(DriftError, match="make it again"):
        files.read(tmp_path)


def test_other_texts_raise_an_alarm_and_more_of_the_same_do_not(made: Reference, embedder: Embedder) -> None:
    from graduand.monitoring.drift.neighbours import scores

    near, detector = made.neighbours(), Novelty(made.scores.tolist(), 1000)

    def update(text: str) -> bool:
        return detector.update(scores(near, made.usual, embedder.embed(text), len(text)))

    assert not any(update(text) for text in tickets(1100)[700:])
    delay = next(n for n, text in enumerate(recipes(100), 1) if update(text))
    assert delay < 30


def test_too_few_rows_are_refused(embedder: Embedder) -> None:
    for few in (tickets(LEAST_ROWS - 1), tickets(1) * 1_000, tickets(LEAST_ROWS - 1) * 20):
        with pytest.raises(DriftError, match="different, are too few for a reference set; it needs 64"):
            build(prompts(few), embedder)


def test_one_prompt_that_is_nearly_all_there_is(embedder: Embedder) -> None:
    """Such as a probe's: its windows do not vary, and are no alarm for all that."""
    usual = tickets(LEAST_ROWS)
    made = build(prompts([*usual, *usual[:1] * 2_000]), embedder)
    mix = MixShift(made.whitening, made.nulls, 100)
    assert mix.threshold > 0
    assert not any(mix.update(embedder.embed(usual[0])) for _ in range(1_000))
    assert any(mix.update(embedder.embed(text)) for text in recipes(100))


@pytest.mark.parametrize(
    ("request_body", "text", "system"),
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                       {"role": "user", "content": "c"}]}, "c", ""),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]}, "a\n", ""),
        ({"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "u"}]}, "u", "s"),
        ({"prompt": "p"}, "p", ""), ({"prompt": ["p", "q"]}, "p\nq", ""), ({"input": "i"}, "i", ""),
        ({"inputs": "l"}, "l", ""), ({"messages": ["?", 3]}, "", ""), ({"messages": 3}, "", ""), ({}, "", ""),
    ],
)  # fmt: skip
def test_prompts_are_read_as_they_come(request_body: dict[str, object], text: str, system: str) -> None:
    found = prompt_of(request_body)
    assert (found.text, found.system) == (text, system)


def test_the_command_leaves_the_adapters_name_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, rows = tmp_path / "triage", tmp_path / "rows.jsonl"
    folder.mkdir()
    (folder / adapter.CONFIG_FILE).write_text("{}")
    (folder / adapter.WEIGHTS_FILE).write_bytes(b"weights")
    before = adapter.digest(folder)
    lines = [{"messages": [{"role": "user", "content": text}], "completion": "yes"} for text in tickets(200)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = ["train", "reference", "--data", str(rows), "--adapter", str(folder), "--false-alarm-every", "1000"]
    assert main([*asked, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["references"], report["calibration"]) == (100, 100)
    assert report["promised_requests_between_false_alarms"] == 1000
    assert adapter.digest(folder) == before
    assert main(asked) == 0
    assert "| calibration rows | 100 |" in capsys.readouterr().out
    assert main([*asked, "--embedder", "statik"]) == 2
    assert "Did you mean 'static'" in capsys.readouterr().err
    assert main(["train", "reference", "--data", str(rows), "--adapter", str(tmp_path / "none")]) == 2


def test_fit_leaves_one_beside_the_weights(tmp_path: Path) -> None:
    rows = [Row(str(number), "yes", prompt=text) for number, text in enumerate(tickets(LEAST_ROWS))]
    assert (
        "no reference set for drift: 63 prompts, 63 of them different, are too few for a reference set; it needs 64"
        in write_beside(rows[1:], tmp_path, 0)
    )
    assert not (tmp_path / files.FOLDER).exists()
    assert str(tmp_path / files.FOLDER) in write_beside(rows, tmp_path, 0)
    assert files.read(tmp_path).rows == LEAST_ROWS
