"""A review round: what is disputed, the sheet, the page, and corrections back in with who and when."""

import csv
import io
import json
from pathlib import Path

import pytest

from graduand.gateway.cli import main
from graduand.training.data.labels import IS_BAD, task_of
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, of_text, read_samples, write_samples
from graduand.training.review import page, sheet
from graduand.training.review.disputes import StudentSays, disputes

TASK = task_of({"labels": ["billing", "delivery"]})
ROWS = [
    of_text("agreed", "my bill", completion="billing", gold="billing"),
    of_text("split", "=SUM(A1) late", completion="billing", answers={"gpt": "delivery"}),
    of_text("doubted", "where is it", completion="billing"),
    of_text("unsure", "hm", completion="delivery"),
    of_text("contradicted", "late parcel", completion="billing"),
]
STUDENTS = {
    "agreed": StudentSays("billing", 0.99),
    "unsure": StudentSays("delivery", 0.51),
    "contradicted": StudentSays("delivery", 0.98),
}


def test_what_is_disputed_and_in_which_order() -> None:
    found = disputes(TASK, ROWS, STUDENTS, {"doubted": "delivery is likelier"})
    assert [each.sample.id for each in found] == ["contradicted", "doubted", "split", "unsure"]
    assert found[0].voices == {"completion": "billing", "student": "delivery"}
    assert found[1].why == "delivery is likelier"
    assert disputes(TASK, ROWS[:1], {}, {}) == []


def test_the_sheet_runs_no_formula() -> None:
    lines = list(csv.DictReader(io.StringIO(sheet.written(disputes(TASK, ROWS, {}, {})))))
    assert [line["text"] for line in lines] == ["'=SUM(A1) late"]
    assert lines[0]["correction"] == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "lacks the columns"),
        ("id,text\nsplit,x\n", "lacks the columns correction"),
        ("id,correction\nsplit,\n", "no correction"),
        ("id,correction\nspilt,billing\n", "no row 'spilt'"),
        ("id,correction\nsplit,biling\n", "Did you mean 'billing'"),
        ("id,correction\nsplit,billing\nsplit,delivery\n", "corrected twice"),
    ],
)
def test_bad_sheets_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        sheet.read(path, TASK, {row.id for row in ROWS})


def test_the_page_escapes() -> None:
    nasty = '"><script>x</script>'
    found = disputes(TASK, [Sample(nasty, prompt=nasty, completion="billing", gold="delivery")], {}, {})
    assert nasty not in page.page(TASK, found, "review-1")


def test_a_whole_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "rows.jsonl", tmp_path / "runs"
    write_samples(data, [of_text("1", "you fool", completion='{"is_bad": 0}', answers={"gpt": '{"is_bad": 1}'}),
                         of_text("2", "thanks", completion='{"is_bad": 0}')])  # fmt: skip
    command = ["train", "review", "--data", str(data), "--task", json.dumps(IS_BAD), "--out", str(out), "--json"]
    assert main(command) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["disputed"], shown["rows"]) == (1, 2)
    filled = (Path(shown["path"]) / "review.csv").read_text().replace("voices differ,,", "voices differ,1,an insult")
    corrections = tmp_path / "corrections.csv"
    corrections.write_text("\ufeff" + filled)  # as spreadsheets save it
    assert main([*command, "--name", "reviewed", "--corrections", str(corrections)]) == 2
    assert "--who" in capsys.readouterr().err
    assert (
        main([*command, "--name", "reviewed", "--corrections", str(corrections), "--who", "ann", "--at", "noon"]) == 0
    )
    done = json.loads(capsys.readouterr().out)
    assert (done["corrected"], done["changed"]) == (1, 1)
    first, second = read_samples(Path(done["path"]))
    assert (first.gold, first.completion) == ("1", '{"is_bad": 1}')
    assert first.notes == {
        "corrected_by": "ann", "corrected_at": "noon", "said_before": '{"is_bad": 0}', "correction": "an insult",
    }  # fmt: skip
    assert second.gold is None
