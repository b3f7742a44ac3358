"""Tables: columns become samples, what cannot be read is counted and never a class, mistakes name the nearest column."""

import json
from collections import Counter
from pathlib import Path

import pytest

from graduand.gateway.cli import main
from graduand.rollout.answers.answers import Label, Unparsed
from graduand.training.data.collapse import Collapse, collapse
from graduand.training.data.rows import DataError
from graduand.training.data.samples import read_samples
from graduand.training.data.tables import Columns, csv_records, samples_of

CSV = """id,said,who,toxic,insult,queue
1,"Where is
my parcel, please?",ann,0,0,billing-us
2,You fool,bob,0,1,billing
3,,bob,0,0,other
4,Hello,eve,-1,-1,
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("\ufeff" + CSV)  # spreadsheets write a byte-order mark
    return path


def test_columns_and_what_is_left_out(table: Path) -> None:
    columns = Columns("said", id="id", user="who", system="Be brief.", gold=Collapse(any=["toxic", "insult"]))
    samples, left_out = samples_of(csv_records(table), columns, "table.csv")
    assert [(sample.id, sample.gold, sample.user) for sample in samples] == [("1", "0", "ann"), ("2", "1", "bob")]
    assert samples[0].text == "Where is\nmy parcel, please?"
    assert samples[0].messages is not None
    assert samples[0].messages[0] == {"role": "system", "content": "Be brief."}
    assert left_out == Counter({"no text": 1, "column 'toxic' holds '-1', which is neither true nor false": 1})


@pytest.mark.parametrize(
    ("rule", "record", "label"),
    [
        (Collapse(any=["a", "b"]), {"a": "-1", "b": "1"}, Label("1")),
        (Collapse(any=["a", "b"]), {"a": "0"}, Unparsed("column 'b' holds '', which is neither true nor false")),
        (Collapse(any=["a"]), {"a": "maybe"}, Unparsed("column 'a' holds 'maybe', which is neither true nor false")),
        (Collapse(any=["a"]), {"a": False}, Label("0")),
        (Collapse(column="a"), {"a": "x"}, Label("x")),
        (Collapse(column="a", map={"x": "y"}), {"a": "x"}, Label("y")),
        (Collapse(column="a"), {"a": " "}, Unparsed("column 'a' is empty")),
    ],
)
def test_collapse(rule: Collapse, record: dict[str, object], label: object) -> None:
    assert collapse(rule, record) == label


def test_commands(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "train",
        "data",
        "csv",
        "--from",
        str(table),
        "--text",
        "said",
        "--out",
        str(tmp_path / "runs"),
        "--json",
    ]
    assert main([*command, "--gold", "{column: queue, map: {billing-us: billing}}"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["left_out"] == {"no text": 1, "column 'queue' is empty": 1}
    assert [sample.gold for sample in read_samples(Path(figures["path"]))] == ["billing", "billing"]
    lines = tmp_path / "table.jsonl"
    lines.write_text('{"q": "Hi", "label": 1}\n{"q": "Bye", "label": 0}\n')
    command[3:6] = ["--from", str(lines), "--text"]
    command[2] = "jsonl"
    command[6] = "q"
    assert main([*command, "--gold", "label"]) == 0
    assert json.loads(capsys.readouterr().out)["gold"] == {"1": 1, "0": 1}


def test_mistakes(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "data", "csv", "--from", str(table), "--out", str(tmp_path / "runs")]
    assert main([*command, "--text", "siad"]) == 1
    assert (
        "has no column 'siad'; it has id, said, who, toxic, insult, queue. Did you mean 'said'"
        in capsys.readouterr().err
    )
    assert main([*command, "--text", "said", "--gold", "{any: [toxic], column: insult}"]) == 2
    assert "either 'any'" in capsys.readouterr().err
    assert main([*command, "--text", "said", "--gold", "{all: [toxic]}"]) == 2
    assert main([*command, "--text", "said", "--id", "toxic"]) == 1
    assert "ids are used more than once, such as '0'" in capsys.readouterr().err
    table.write_text("a,b\n1\n")
    with pytest.raises(DataError, match="line 2: not as many fields"):
        list(csv_records(table))
    table.write_text('a,b\n"1,2\n')
    with pytest.raises(DataError, match="cannot read"):
        list(csv_records(table))
