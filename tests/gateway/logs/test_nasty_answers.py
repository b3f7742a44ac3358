"""Whatever stands in a payload of the log (NaN, half pairs, depth, no JSON): readers, exports and redaction go on."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graduand.gateway.logs.export import Selection, _example, export
from graduand.gateway.logs.query import Log
from graduand.gateway.logs.reading import Source
from graduand.gateway.logs.redaction import Redactor
from graduand.gateway.model import reader
from graduand.gateway.model.recording import RecordPolicy
from tests.gateway.logs.lines import made, write

DEEP = "[" * 600 + "]" * 600
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": DEEP}}
NASTY: list[tuple[str, str, str | None]] = [
    ("NaN", '{"choices":[{"message":{"content":"yes"},"logprobs":[NaN,-Infinity],"finish_reason":"stop"}]}', "yes"),
    ("half a pair", '{"choices":[{"message":{"content":"yes \\ud83d"},"finish_reason":"stop"}]}', "yes �"),
    ("a long number",
     '{"choices":[{"message":{"content":"yes"},"x":1@,"finish_reason":"stop"}],"y":NaN}'.replace("@", "0" * 400), "yes"),
    ("deep", '{"choices":[{"message":{"content":"yes","x":@}}]}'.replace("@", DEEP), None),
    ("too deep for any reader", '{"choices":' + "[" * 100_000, None),
    ("a call with deep arguments", json.dumps({"choices": [{"message": {"content": None, "tool_calls": [CALL]}}]}),
     json.dumps({"tool_calls": [{"arguments": DEEP, "name": "f"}]})),
    ("no JSON", "\x00<html>", None),
]  # fmt: skip


@pytest.mark.parametrize(("what", "answer", "said"), NASTY, ids=[one[0] for one in NASTY])
def test_nasty_answers_are_read_as_far_as_they_can_be(what: str, answer: str, said: str | None) -> None:
    found = reader.answered({"request_json": None, "response_json": answer})
    assert (None if found is None else found.said) == said


def test_the_log_with_all_of_them(tmp_path: Path) -> None:
    lines = [made(number, response_json=answer) for number, (_, answer, _) in enumerate(NASTY, 1)]
    write(tmp_path, "s", lines)
    with Log(Source((tmp_path / "target").as_uri(), tmp_path)) as log:
        assert log.query("SELECT count(response_json) FROM log").fetchall() == [(len(NASTY),)]
        for form in ("chat", "prompt-completion", "raw"):
            counts = export(log, Selection("tickets"), form, tmp_path / form)
            assert counts.records == counts.lines + counts.left_out.total() == len(NASTY)
            assert len((tmp_path / form).read_bytes().splitlines()) == counts.lines
    redactor = Redactor(RecordPolicy(redact=("email",)))
    for line in lines:
        json.loads(redactor.line(orjson.dumps(line))[0])


values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=6) | st.just(DEEP),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "tool_calls", "function", "arguments", "finish_reason", "text"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)
payloads = (
    values.map(json.dumps) | st.text(max_size=12) | st.integers(1, 3000).map(lambda deep: "[" * deep + "]" * deep)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(payloads, payloads)
def test_nobody_stumbles(asked: str, answer: str) -> None:
    asked, answer = (one.encode("utf-8", "replace").decode() for one in (asked, answer))
    record: Any = made(1, request_body=asked.encode(), response_json=answer)
    found = reader.answered(record)
    assert found is None or found.said.encode() is not None
    reader.conversation(reader.request(record))
    orjson.dumps(_example({**record, "correction": None}, "chat"))
    record["attempts"][0]["said"] = answer
    clean, _, _ = Redactor(RecordPolicy(redact=("email", "card"))).line(orjson.dumps(record))
    kept = json.loads(clean)["response_json"]
    assert kept is None or isinstance(orjson.dumps(orjson.loads(kept)), bytes)
