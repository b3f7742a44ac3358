"""Samples: what is read and written, and that a trainer reads the same file."""

import json
from pathlib import Path
from typing import Any

import pytest

from graduand.training.data.rows import DataError, read_rows
from graduand.training.data.samples import Sample, of_text, parse_sample, read_samples, write_samples

WHOLE = Sample(
    "a", messages=({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}), completion="yes",
    gold="1", answers={"gpt-4": "yes"}, user="ann", conversation="c1", source="logs", notes={"why": "polite"},
)  # fmt: skip


def test_what_is_written_is_read_again_and_trained(tmp_path: Path) -> None:
    samples = [WHOLE, Sample("b", prompt="Once", completion=" upon"), of_text("c", "Hi", completion="no")]
    assert write_samples(tmp_path / "rows.jsonl", samples) == 3
    assert read_samples(tmp_path / "rows.jsonl") == read_samples(tmp_path) == samples
    assert [(row.id, row.completion) for row in read_rows(tmp_path / "rows.jsonl")] == [
        ("a", "yes"),
        ("b", " upon"),
        ("c", "no"),
    ]
    assert [sample.text for sample in samples] == ["Hi", "Once", "Hi"]


def test_a_trainer_needs_completions_and_honours_weights(tmp_path: Path) -> None:
    write_samples(tmp_path / "rows.jsonl", [of_text("a", "Hi")])
    with pytest.raises(DataError, match="'completion' must be"):
        read_rows(tmp_path / "rows.jsonl")
    write_samples(tmp_path / "rows.jsonl", [of_text("a", "Hi", completion="x", weight=2.0)])
    assert read_rows(tmp_path / "rows.jsonl")[0].weight == 2.0


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([1], "a sample is a JSON object"),
        ({"prompt": "a", "golden": "1"}, "unknown key 'golden'.*Did you mean 'gold'"),
        ({"gold": "1"}, "either 'messages'"),
        ({"prompt": ""}, "'prompt' must be a text"),
        ({"prompt": "a", "id": True}, "'id' must be"),
        ({"prompt": "a", "user": 7}, "'user' must be a text"),
        ({"prompt": "a", "answers": {"gpt-4": 1}}, "'answers' must be an object"),
        ({"prompt": "a", "weight": 0}, "'weight' must be a number above 0"),
        ({"prompt": "a", "weight": float("inf")}, "'weight' must be a number above 0"),
    ],
)
def test_bad_samples(value: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        parse_sample(value, "line-1")


def test_gold_may_be_a_number_or_a_truth_value() -> None:
    found = [parse_sample({"prompt": "a", "gold": gold}, "x").gold for gold in (1, True, "a", None)]
    assert found == ["1", "true", "a", None]


def test_bad_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "prompt": "a"}\n{"id": "1", "prompt": "b"}\n')
    with pytest.raises(DataError, match="line 2: id '1' was used on line 1"):
        read_samples(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="holds no samples"):
        read_samples(path)
    with pytest.raises(DataError, match="cannot write"):
        write_samples(Path("/proc/none/x.jsonl"), [WHOLE])
    assert json.dumps(WHOLE.as_json())
