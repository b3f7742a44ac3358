"""A route that is asked in several APIs at once: one rollout and one evidence, the same as if all had asked by chat."""

import json
from pathlib import Path
from typing import Any

from graduand.gateway.model.forms import claude
from graduand.gateway.model.reader import record_of
from graduand.rollout.state import Phase
from graduand.training.data.logs import row_of
from graduand.training.data.rows import Row
from tests.gateway.control.worlds import World

Json = dict[str, Any]
SYSTEM = {"role": "system", "content": "Answer yes or no."}


def by_chat(record: Json) -> Json:
    asked = json.loads(record["request_json"])
    chat = {**asked, "model": "triage", "messages": [SYSTEM, *asked["messages"]]}
    answer = json.loads(record["response_json"])
    answer["choices"][0]["finish_reason"] = "stop"
    kept = {"request_json": json.dumps(chat), "response_json": json.dumps(answer)}
    return {**record, **kept, "endpoint": "/chat/completions"}


def by_messages(record: Json) -> Json:
    """The same as Claude's client says it, and as Claude answers; a student's answer is a chat's."""
    chat = by_chat(record)
    asked = claude.request_of(json.loads(chat["request_json"]), "triage")
    answer = json.loads(chat["response_json"])
    if record["arm"] == "teacher":
        answer = claude.message_of(answer, None, thinks=False, used=claude.usage_of(None))
    kept = {"request_json": json.dumps(asked), "response_json": json.dumps(answer)}
    return {**chat, **kept, "endpoint": "/messages"}


def by_responses(record: Json) -> Json:
    """The same as openai's client says it first, and as a teacher that speaks it answers."""
    chat = by_chat(record)
    asked = json.loads(record["request_json"])
    said = {"model": "triage", "instructions": SYSTEM["content"], "input": asked["messages"], "store": True}
    answer = json.loads(chat["response_json"])
    if record["arm"] == "teacher":
        part = {"type": "output_text", "text": answer["choices"][0]["message"]["content"], "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
        answer = {
            "object": "response",
            "status": "completed",
            "model": answer.get("model"),
            "output": [item],
            "error": None,
        }
    kept = {"request_json": json.dumps(said), "response_json": json.dumps(answer)}
    return {**chat, **kept, "endpoint": "/responses"}


def counted(record: Json) -> Json:
    """A count of the same question's tokens, which nobody is to learn from."""
    told = {"endpoint": "/messages/count_tokens", "response_json": '{"input_tokens": 5}'}
    return {**by_messages(record), **told, "id": "count-" + record["id"]}


def play(folder: Path, *, mixed: bool) -> tuple[World, list[Json]]:
    """A rollout in the shadow and in its canary; `mixed`: of three requests one comes from Claude's client, and one
    through the Responses API."""
    folder.mkdir()
    world = World(folder)
    written: list[Json] = []
    world.start()
    world.look(3)
    for count in (60, 80):
        batch: list[Json] = []
        for record in map(json.loads, world.lines(count, agree=0.9)):
            number = int((record["parent_id"] or record["id"]).removeprefix("id-"))
            if mixed and number % 3:
                batch += [by_messages(record), counted(record)] if number % 3 == 1 else [by_responses(record)]
            else:
                batch.append(by_chat(record))
        with (folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
            out.writelines(json.dumps(one) + "\n" for one in batch)
        written += batch
        world.look(2)
    return world, written


def test_one_route_in_three_apis_has_one_evidence(tmp_path: Path) -> None:
    plain, chats = play(tmp_path / "chat", mixed=False)
    both, mixed = play(tmp_path / "both", mixed=True)
    assert {one["endpoint"] for one in mixed} == {
        "/chat/completions", "/messages", "/messages/count_tokens", "/responses",
    }  # fmt: skip
    assert both.phase is plain.phase is Phase.CANARY
    assert both.row.counts == plain.row.counts
    assert both.row.facts == plain.row.facts
    assert both.row.ledger == plain.row.ledger
    rows = [[row for one in listed if isinstance(row := row_of(_record(one)), Row)] for listed in (chats, mixed)]
    assert len(rows[0]) > 100
    assert rows[0] == rows[1]


def _record(data: Json) -> Any:
    found = record_of(data)
    assert found is not None
    return found
