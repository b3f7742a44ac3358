"""Rows: what is accepted, and what a bad row's error says."""

from pathlib import Path

import pytest

from graduand.training.data.rows import DataError, Row, read_rows

GOOD = b'{"prompt": "a", "completion": "b"}'


def written(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"\n".join(lines))
    return path


def test_both_kinds_of_row(tmp_path: Path) -> None:
    chat = b'{"id": 7, "messages": [{"role": "user", "content": "hi"}], "completion": "yes"}'
    rows = read_rows(written(tmp_path / "rows.jsonl", GOOD, b"", chat, b""))
    assert rows == [
        Row("line-1", "b", prompt="a"),
        Row("7", "yes", messages=({"role": "user", "content": "hi"},)),
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{", "line 2 is not JSON"),
        (b"[1]", "line 2: a row is a JSON object"),
        (b'"\\ud800"', "line 2 is not JSON"),
        (b'{"prompt": "a", "completion": ""}', "'completion' must be a text that is not empty"),
        (b'{"prompt": "a"}', "'completion' must be a text"),
        (b'{"completion": "a"}', "give either 'messages'"),
        (b'{"prompt": "a", "messages": [], "completion": "a"}', "give either 'messages'"),
        (b'{"promt": "a", "completion": "a"}', "unknown key 'promt'.*Did you mean 'prompt'"),
        (b'{"messages": [], "completion": "a"}', "a list that is not empty"),
        (b'{"messages": [{"role": "boss", "content": "a"}], "completion": "a"}', r"messages\[0\] has role 'boss'"),
        (b'{"messages": [{"role": "user", "content": []}], "completion": "a"}', r"messages\[0\] needs 'content'"),
        (b'{"messages": [{"role": "user", "content": "", "name": "x"}], "completion": "a"}', "not trained yet: name"),
        (b'{"messages": [{"role": "assistant", "content": "a"}], "completion": "a"}', "put it into 'completion'"),
        (b'{"id": [], "prompt": "a", "completion": "a"}', "'id' must be"),
        (b'{"id": "line-1", "prompt": "a", "completion": "a"}', "id 'line-1' was used on line 1"),
    ],
)
def test_bad_rows_name_line_and_remedy(tmp_path: Path, line: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        read_rows(written(tmp_path / "rows.jsonl", GOOD, line))
    assert "line 2" in str(caught.value)


def test_no_rows_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no rows"):
        read_rows(written(tmp_path / "rows.jsonl", b""))
    with pytest.raises(DataError, match="cannot read the rows"):
        read_rows(tmp_path / "missing.jsonl")
