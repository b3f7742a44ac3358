"""Raw answers read and compared; what cannot be read is never given a label."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.errors import ConfigError
from graduand.rollout.answers import judge, tasks
from graduand.rollout.answers.answers import Label, Unparsed, parse_label, parse_object
from graduand.rollout.answers.compare import compare, label_of
from graduand.rollout.answers.tasks import read

BINARY = read({"kind": "label", "labels": [0, 1], "field": "is_bad", "aliases": {"true": "1", "false": "0"}})
WORDS = read({"kind": "label", "labels": ["Toxic", "Not toxic"]})
INVOICE = read({"kind": "json", "fields": {"who.name": "text", "total": "number", "day": "date", "tags": "set"}})
TEXT = read({"kind": "text"})

READABLE = [
    '{"is_bad": 0}',
    '```json\n{\n  "is_bad": 0\n}\n```',
    "```python\n{\n  'why': \"it's fine\",\n  'is_bad': 0\n}\n```",
    "{'is_bad': 0}\n\nExplanation: nothing bad.",
    'Here is the classification in JSON format:\n\n```json\n{"is_bad": 0}\n```',
    '{"is_bad": "0"}',
    '{"is_bad": false}',
    "{'is_bad': False}",
    '{"is_bad": 0.0}',
    "{'why': 'it's badly quoted', 'is_bad': 0}",
    '```json\n{"is_bad": 0}\n```\nIn short:\n```json\n{"is_bad": 0}\n```',
    '{"why": "it says {\\"is_bad\\": 1}", "is_bad": 0}',
]
UNREADABLE = [
    "",
    "   ",
    "I'm sorry, but I can't assist with that.",
    "0",
    '{"is_bad": 0',
    '{"is_bad": 2}',
    '{"is_bad": null}',
    '{"is_bad": [0]}',
    '{"is_good": 0}',
    '{"is_bad": 0, "is_bad": 1}',
    '{"is_bad": 0} or {"is_bad": 1}',
    "{'why': 'quotes 'is_bad': 1}', 'is_bad': 0}",
    '{"is_bad": 0} ' * 50_000,
    "{" * 100_000,
    "__import__('os').system('true')",
]


@pytest.mark.parametrize("raw", READABLE)
def test_readable(raw: str) -> None:
    assert label_of(BINARY, raw) == Label("0")


@pytest.mark.parametrize("raw", UNREADABLE, ids=range(len(UNREADABLE)))
def test_unreadable(raw: str) -> None:
    assert isinstance(label_of(BINARY, raw), Unparsed)


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("Not toxic", "Not toxic"),
        (" TOXIC.\n", "Toxic"),
        ("Label: not  toxic", "Not toxic"),
        ("The answer is: toxic", "Toxic"),
        ("```\ntoxic\n```", "Toxic"),
        ("This is not toxic", None),
        ("toxic or not toxic", None),
    ],
)
def test_plain_labels(raw: str, label: str | None) -> None:
    found = label_of(WORDS, raw)
    assert (found.value if isinstance(found, Label) else None) == label


@given(st.text())
def test_any_text_is_a_known_label_or_unparsed(raw: str) -> None:
    for task in (BINARY, WORDS):
        found = label_of(task, raw)
        assert isinstance(found, Unparsed) or found.value in task.labels.values()
    assert isinstance(parse_object(raw), dict | Unparsed)


@given(st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(), max_size=5))
def test_objects_survive_their_wrappings(value: dict[str, Any]) -> None:
    for raw in (json.dumps(value), f"```json\n{json.dumps(value)}\n```", repr(value)):
        if "```" not in json.dumps(value):
            assert parse_object(raw) == value


@pytest.mark.parametrize(
    ("teacher", "student", "agreed", "unparsed"),
    [
        ('{"is_bad": 1}', "```json\n{'is_bad': True}```", True, False),
        ('{"is_bad": 1}', '{"is_bad": 0}', False, False),
        ('{"is_bad": 1}', "toxic!", False, True),
        ("I refuse", '{"is_bad": 1}', None, False),
        ("I refuse", "I refuse", None, False),
    ],
)
def test_labels(teacher: str, student: str, agreed: bool | None, unparsed: bool) -> None:
    found = compare(BINARY, teacher, student)
    assert (found.agreed, bool(found.unparsed)) == (agreed, unparsed)
    assert bool(found.unscored) == (agreed is None)


TEACHER = {"who": {"name": "Ann  Lee"}, "total": "1,200.50", "day": "2024-03-01", "tags": ["a", "B"]}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, set()),
        ({"who": {"name": "ann lee"}, "total": 1200.5, "day": "2024-03-01T09:00:00", "tags": ["b", "a", "a"]}, set()),
        ({"extra": 1}, set()),
        ({"total": 1200}, {"total"}),
        ({"who": {}}, {"who.name"}),
        ({"who": None, "tags": None}, {"who.name", "tags"}),
        ({"day": "soon"}, {"day"}),
    ],
)
def test_objects_by_field(change: dict[str, Any], wrong: set[str]) -> None:
    found = compare(INVOICE, json.dumps(TEACHER), json.dumps({**TEACHER, **change}))
    assert {name for name, same in found.fields.items() if not same} == wrong
    assert found.agreed == (not wrong)


def test_an_unreadable_object_is_wrong_in_every_field() -> None:
    found = compare(INVOICE, json.dumps(TEACHER), "null")
    assert (found.agreed, set(found.fields.values()), bool(found.unparsed)) == (False, {False}, True)
    assert compare(INVOICE, "null", json.dumps(TEACHER)).agreed is None


def test_without_declared_fields_all_of_the_teachers_count() -> None:
    whole = read({"kind": "json"})
    assert compare(whole, '{"a": {"b": ["X "]}, "c": 1}', '{"c": "1", "a": {"b": ["x"]}}').agreed is True
    assert compare(whole, '{"a": 1, "c": 1}', '{"a": 1}').fields == {"a": True, "c": False}


def test_text_is_left_to_the_judge() -> None:
    found = compare(TEXT, "Hello Ann", "Hello Bob")
    assert (found.agreed, found.similarity) == (None, 0.5)
    assert compare(TEXT, "Hello", " ").agreed is False
    assert compare(TEXT, "", "Hello").agreed is None


@pytest.mark.parametrize(
    ("teacher_first", "student_first", "score"),
    [
        ("VERDICT: B", "VERDICT: A", 1.0),
        ("VERDICT: A", "VERDICT: B", 0.0),
        ("VERDICT: A", "VERDICT: A", None),  # likes whatever comes first
        ("VERDICT: B", "VERDICT: B", None),
        ("VERDICT: TIE", "VERDICT: TIE", 0.5),
        ("VERDICT: TIE", "VERDICT: A", 0.5),
        ("**Verdict: [[B]]**", "so\nverdict: a.", 1.0),
        ("VERDICT: B", "both good", None),
        ("", "VERDICT: A", None),
        ("VERDICT: A\nVERDICT: C", "VERDICT: B", None),
    ],
)
def test_judge_in_both_orders(teacher_first: str, student_first: str, score: float | None) -> None:
    judged = judge.combine(teacher_first, student_first)
    assert judged.score == score
    assert (judged.score is None) == bool(judged.unscored)
    assert judged.agreed == {1.0: True, 0.0: False}.get(-1.0 if score is None else score)  # a tie is no agreement


def test_judge_sees_both_orders() -> None:
    one, other = judge.prompts("polite", "Q", "from-teacher", "from-student")
    assert one[1]["content"].index("from-teacher") < one[1]["content"].index("from-student")
    assert other[1]["content"].index("from-student") < other[1]["content"].index("from-teacher")
    assert "polite" in one[0]["content"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"kind": "labels"}, "kind"),
        ({"kind": "label"}, "two labels"),
        ({"kind": "label", "labels": ["a", "A"]}, "spellings that differ"),
        ({"kind": "label", "labels": ["a", "b"], "aliases": {"x": "c"}}, "none of the labels"),
        ({"kind": "json", "fields": {"a": "numbr"}}, "Did you mean 'number'"),
        ({"kind": "json", "field": "a", "fiels": 1}, "unknown key 'fiels'"),
    ],
)
def test_tasks_are_refused_with_reasons(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(data)


JIGSAW = os.environ.get("GRADUAND_JIGSAW", "")
# Recorded answers that hold nothing: the whole of what cannot be read in 13,760 recorded answers.
EMPTY = {"gpt4_raw": 0, "gpt4_cot_raw": 0, "gpt35_raw": 1, "gpt35_cot_raw": 1}


@pytest.mark.parametrize("field", sorted(EMPTY))
def test_recorded_gpt_answers(field: str) -> None:
    files = sorted(Path(JIGSAW).glob("*.jsonl")) if JIGSAW else []
    if not files:
        pytest.skip(f"no recorded answers at {JIGSAW!r}; set GRADUAND_JIGSAW to their folder")
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    answers = [row[field] for row in rows if field in row]
    unread = [raw for raw in answers if isinstance(parse_label(raw, {"0": "0", "1": "1"}, "is_bad"), Unparsed)]
    assert answers
    assert unread == [""] * EMPTY[field]


@pytest.mark.parametrize(
    ("judge_in", "problem"),
    [
        ({"upstream": "opnai", "model": "m"}, "Did you mean 'openai'"),
        ({"upstream": "lorax", "model": "m"}, "must speak OpenAI"),
        ({"upstream": "openai", "model": "m", "sampel": 1}, "Did you mean 'sample'"),
        ({"upstream": "openai"}, "model"),
        ({"upstream": "openai", "model": "m", "sample": 0}, "sample"),
    ],
)
def test_judges_that_cannot_be_asked(judge_in: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        tasks.check_judge(tasks.read({"kind": "text", "judge": judge_in}), {"openai": "openai", "lorax": "lorax"})


def test_a_judge_is_for_free_text() -> None:
    with pytest.raises(ConfigError, match="kind is json"):
        tasks.read({"kind": "json", "judge": {"upstream": "openai", "model": "m"}})
    judged = tasks.read({"kind": "text", "judge": {"upstream": "openai", "model": "m"}})
    tasks.check_judge(judged, {"openai": "vllm"})
    tasks.check_judge(tasks.read({"kind": "text"}), {})


@pytest.mark.parametrize("depth", [10, 63, 64, 65, 600, 5_000, 100_000])
@pytest.mark.parametrize("shape", ['{{"a": {}1{}}}', "{{'a': {}1{}}}"])
def test_no_nesting_ends_whoever_compares(shape: str, depth: int) -> None:
    raw = shape.format("[" * depth, "]" * depth)
    outcome = compare(tasks.read({"kind": "json"}), '{"a": 1}', raw)
    assert outcome.agreed is False
    assert compare(tasks.read({"kind": "json"}), raw, raw).agreed in (True, None)
