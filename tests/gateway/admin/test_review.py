"""`graduand review` and its endpoints over a made-up world: blind, counted once, in the log before they are acknowledged."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from graduand.gateway import cli
from graduand.gateway.admin.app import app
from graduand.gateway.admin.calls import Configuration
from graduand.gateway.client.admin import Admin, AdminRefused
from graduand.gateway.control import labels
from graduand.gateway.logs import synced
from graduand.gateway.model import record
from graduand.monitoring.metrics import Totals
from graduand.rollout.labelling import BLOCK
from tests.gateway.control.worlds import OPEN, World

Json = dict[str, Any]
STEPS = [{"shadow": {"pairs": 20, "t_max": "1h"}}, {"full": {"requests": 20, "dwell": "1s"}}]
ASKED: Json = {
    "gates": ["agreement 0.3", {"correctness": {"p0": 0.6, "labels": 60}}],
    "harm": [{"agreement": {"p0": 0.1}}], "steps": STEPS, "audit": 1.0,
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Any:
    yield World(tmp_path)
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def admin(world: World) -> TestClient:
    return TestClient(app(Configuration(world.settings, Totals(world.folder))), raise_server_exceptions=False)


def asking(world: World, draws: int = 3, agree: float = 0.5, **changes: Any) -> None:
    """A rollout that has drawn so many requests."""
    world.start(**{**ASKED, **changes})
    world.look(3)
    world.asked = 100 * (world.asked // 100) + round(100 * agree) - draws * BLOCK // 2  # some agree, some do not
    world.ask(draws * BLOCK, agree=agree)
    world.look(2)


def rows(world: World) -> list[Json]:
    paths = (world.folder / "logs" / "labels" / "segments").glob("*.jsonl")
    return [json.loads(line) for path in sorted(paths) for line in path.read_text().splitlines()]


def test_nothing_asks(admin: TestClient, world: World) -> None:
    assert admin.get("/v1/review").json() == {"rollouts": []}
    assert admin.get("/v1/review/next").json()["question"] is None
    assert admin.get("/v1/review/next?rollout=nowhere").status_code == 404
    world.start()
    world.look(3)
    assert admin.get("/v1/review").json() == {"rollouts": []}
    assert admin.get("/v1/review/next?rollout=triage").json() == {"question": None, "rollout": "triage", "waiting": 0}


def test_from_the_next_request_to_the_last(admin: TestClient, world: World) -> None:
    asking(world)
    [listed] = admin.get("/v1/review").json()["rollouts"]
    assert (listed["rollout"], listed["step"], listed["waiting"], listed["counted"]) == (world.row.id, "shadow", 3, 0)
    seen = []
    for left in (3, 2, 1):
        found = admin.get("/v1/review/next", headers={"x-graduand-who": "ann"}).json()
        question = found["question"]
        assert (found["waiting"], found["rollout"]) == (left, world.row.id)
        assert question["conversation"] == "?"
        assert [answer["name"] for answer in question["answers"]] == ["A", "B"][: len(question["answers"])]
        # Nothing says whose an answer is, what was guessed about it or how it compares.
        assert set(question) == {"id", "conversation", "answers"}
        assert all(set(answer) == {"name", "text"} for answer in question["answers"])
        seen.append(question["id"])
        good = [answer["name"] for answer in question["answers"] if answer["text"] == "yes"]
        body = {"id": question["id"], "verdict": good[0] if good else "neither"}
        answer = admin.post("/v1/review/labels", json=body, headers={"x-graduand-who": "ann"})
        assert (answer.status_code, answer.json()["stored"]) == (201, True)
    assert len(set(seen)) == 3
    assert admin.get("/v1/review/next").json()["question"] is None
    world.look(2)
    labelling = world.row.ledger.labelling
    assert labelling is not None
    right = sum(world.store.label(world.row, one)["correct"] for one in seen)  # type: ignore[index]
    assert (labelling.gate.n, labelling.gate.right) == (3, right)
    assert {row["who"] for row in rows(world)} == {"ann"}


def test_a_label_counts_once_and_the_first_one(admin: TestClient, world: World) -> None:
    asking(world)
    number = admin.get("/v1/review/next").json()["question"]["id"]

    def say(verdict: str, who: str = "ann") -> tuple[int, Json]:
        answer = admin.post(
            "/v1/review/labels", json={"id": number, "verdict": verdict}, headers={"x-graduand-who": who}
        )
        return answer.status_code, answer.json()

    first = say("both")
    assert (first[0], first[1]["stored"]) == (201, True)
    assert say("both") == (200, {**first[1], "stored": False})
    assert say("both", "bob") == (200, {**first[1], "stored": False})
    assert (say("neither")[0], say("neither")[1]["error"]["code"]) == (409, "labelled_already")
    world.look(3)  # learnt from, or waiting for those before it
    assert say("both") == (200, {**first[1], "stored": False})
    assert say("skip")[0] == 409
    assert len(rows(world)) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"id": "nobody", "verdict": "both"}, 404, "not_asked"),
        ({"id": "nobody", "verdict": "good"}, 422, "invalid_request"),
        ({"id": "nobody"}, 422, "invalid_request"),
        ({"id": "", "verdict": "A"}, 422, "invalid_request"),
        ({"id": "x", "verdict": "A", "why": "?"}, 422, "invalid_request"),
    ],
)
def test_rubbish(admin: TestClient, world: World, body: Json, status: int, code: str) -> None:
    asking(world)
    answer = admin.post("/v1/review/labels", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert rows(world) == []


def test_a_request_that_was_not_drawn_gets_no_label(admin: TestClient, world: World) -> None:
    """Whoever labels what he likes proves nothing: only draws count."""
    asking(world)
    drawn = {draw.guess.record for draw in labels.wait(world.store, world.row)}
    others = [f"id-{number}" for number in range(1, world.asked + 1) if f"id-{number}" not in drawn]
    assert {
        admin.post("/v1/review/labels", json={"id": one, "verdict": "both"}).status_code for one in others[:20]
    } == {404}


def test_of_one_answer_there_is_no_b(admin: TestClient, world: World) -> None:
    asking(world, agree=1.0)
    number = admin.get("/v1/review/next").json()["question"]["id"]
    assert admin.post("/v1/review/labels", json={"id": number, "verdict": "B"}).status_code == 400
    assert admin.post("/v1/review/labels", json={"id": number, "verdict": "A"}).status_code == 201


def test_what_the_disk_does_not_take_is_no_label(
    admin: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking(world)
    number = admin.get("/v1/review/next").json()["question"]["id"]

    def full(_: synced.SyncedRows, line: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synced.SyncedRows, "append", full)
    answer = admin.post("/v1/review/labels", json={"id": number, "verdict": "both"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_stored")
    assert world.store.label(world.row, number) is None
    monkeypatch.undo()
    assert admin.post("/v1/review/labels", json={"id": number, "verdict": "both"}).status_code == 201


def test_several_people_begin_with_different_requests(admin: TestClient, world: World) -> None:
    asking(world, draws=5)
    ids = {
        admin.get("/v1/review/next", headers={"x-graduand-who": f"person {number}"}).json()["question"]["id"]
        for number in range(20)
    }
    assert len(ids) > 2


def test_feedback_reaches_a_rollout_that_waits_for_outcomes(admin: TestClient, world: World) -> None:
    number = record.new_id()
    assert admin.post("/v1/feedback", json={"id": number, "label": "accepted"}).status_code == 201
    assert world.store.statements(number) == []  # nobody waits for it
    outcomes = {"within": "1d", "right": ["accepted"]}
    world.start(
        **{**ASKED, "gates": ["agreement 0.3", {"correctness": {"p0": 0.6, "labels": 60, "outcomes": outcomes}}]}
    )
    for label in ("rejected", "accepted"):
        assert admin.post("/v1/feedback", json={"id": number, "label": label, "score": 1}).status_code == 201
    assert [said[1:] for said in world.store.statements(number)] == [(1.0, "rejected"), (1.0, "accepted")]
    world.look(3)
    world.ask(20)
    world.look(2)
    assert admin.post("/v1/review/labels", json={"id": "id-1", "verdict": "A"}).status_code == 404


def test_feedback_is_stored_when_the_state_store_is_away(tmp_path: Path) -> None:
    from graduand.gateway.model.routes import Route, Settings, Teacher

    mine = Settings(
        {}, {"r": Route("r", Teacher("u", "m"))}, state="redis://127.0.0.1:9/0", logs=f"file://{tmp_path}/logs"
    )
    away = TestClient(app(Configuration(mine, Totals(tmp_path))), raise_server_exceptions=False)
    assert away.post("/v1/feedback", json={"id": record.new_id(), "score": 1}).status_code == 201


def test_the_status_and_the_reasons_say_what_waits(admin: TestClient, world: World) -> None:
    asking(world)
    shown = admin.get(f"/v1/rollouts/{world.row.id}").json()
    assert (shown["labels"]["waiting"], shown["labels"]["asked_for"]) == (3, 60)
    assert [gate["name"] for gate in shown["gates"]] == ["agreement", "correctness"]
    reasons = admin.get(f"/v1/rollouts/{world.row.id}/explain").json()["reasons"]
    assert any("3 requests wait for a person's label: graduand review next" in reason for reason in reasons)


@pytest.fixture
def _commands(admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line talks to the application itself."""

    def call(_: Admin, method: str, path: str, body: Json | None = None) -> Any:
        answer = admin.request(method, path, json=body, headers={"x-graduand-who": "ann"})
        if answer.status_code >= 400:
            raise AdminRefused(answer.json()["error"]["message"])
        return answer.json()

    monkeypatch.setattr(Admin, "call", call)


@pytest.mark.usefixtures("_commands")
def test_the_command_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str, code: int = 0) -> str:
        assert cli.main(["review", *words]) == code
        out, err = capsys.readouterr()
        return str(out + err)

    assert "no rollout asks for labels" in said("list")
    assert "no request waits for a label" in said("next")
    asking(world)
    assert world.row.id in said("list")
    found = json.loads(said("next", "triage", "--json"))["question"]
    shown = said("next")
    assert found["id"] in shown
    assert "answer A" in shown
    for word in ("student", "teacher", "shadow"):
        assert word not in shown
    assert "stored" in said("label", found["id"], "right")
    assert "known already" in said("label", found["id"], "both")
    assert "another one; the first counts" in said("label", found["id"], "wrong", code=1)
    assert json.loads(said("label", found["id"], "both", "--json"))["stored"] is False
    with pytest.raises(SystemExit):
        cli.main(["review", "label", found["id"], "maybe"])


def exported(admin: TestClient) -> Json:
    answer = admin.get("/v1/review/export")
    assert answer.status_code == 200
    found: Json = answer.json()
    return found


def sent(found: Json, verdict: str | None = "both", **changes: Any) -> Json:
    lines = [{"id": one["id"], "probability": one["probability"], "verdict": verdict} for one in found["labels"]]
    return {"population": found["population"], "labels": lines, **changes}


def test_a_file_says_how_it_was_drawn(admin: TestClient, world: World) -> None:
    assert admin.get("/v1/review/export").status_code == 404
    asking(world)
    found = exported(admin)
    assert found["population"] == {"rollout": world.row.id, "basis": 1, "step": "shadow"}
    assert [set(one) for one in found["labels"]] == [{"id", "conversation", "answers", "probability", "verdict"}] * 3
    answer = admin.post("/v1/review/import", json=sent(found, None))
    assert answer.json() == {"rollout": world.row.id, "stored": 0, "known": 0, "left": 3}
    assert admin.post("/v1/review/import", json=sent(found)).json()["stored"] == 3
    assert admin.post("/v1/review/import", json=sent(found)).json()["known"] == 3  # the same file again
    world.look(2)
    assert admin.post("/v1/review/import", json=sent(found)).json()["known"] == 3
    assert {(row["source"], row["correct"]) for row in rows(world)} == {("file", True)}
    assert len(rows(world)) == 3


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda file: {**file, "population": None}, 422, "invalid_request"),
        (lambda file: {"labels": file["labels"]}, 422, "invalid_request"),
        (lambda file: {**file, "population": {**file["population"], "step": "full"}}, 409, "another_population"),
        (lambda file: {**file, "population": {**file["population"], "basis": 2}}, 409, "another_population"),
        (lambda file: {**file, "population": {**file["population"], "rollout": "x"}}, 404, "rollout_not_found"),
        (lambda file: {**file, "labels": [{**file["labels"][0], "probability": 0.5}]}, 409, "another_probability"),
        (lambda file: {**file, "labels": [{"id": file["labels"][0]["id"], "verdict": "A"}]}, 422, "invalid_request"),
        (lambda file: {**file, "labels": [*file["labels"], {**file["labels"][0], "id": "id-x"}]}, 404, "not_asked"),
        (
            lambda file: {**file, "labels": [*file["labels"], {**file["labels"][0], "verdict": "neither"}]},
            409, "labelled_already",
        ),
        (lambda file: {**file, "labels": [{**file["labels"][0], "probability": 0}]}, 422, "invalid_request"),
    ],
)  # fmt: skip
def test_a_file_of_anything_else_is_refused_whole(
    admin: TestClient, world: World, change: Any, status: int, code: str
) -> None:
    asking(world)
    answer = admin.post("/v1/review/import", json=change(sent(exported(admin))))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert len(labels.wait(world.store, world.row)) == 3


@pytest.mark.usefixtures("_commands")
def test_a_file_on_the_command_line(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asking(world)
    path = tmp_path / "labels.jsonl"
    assert cli.main(["review", "export", "triage", "--out", str(path)]) == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["verdict"], lines[2]["verdict"] = "right", "neither"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert cli.main(["review", "import", str(path)]) == 0
    assert "2 stored, 0 known already, 1 without a verdict yet" in capsys.readouterr().out
    for text, words in (
        ("", "does not say what"), (json.dumps(lines[1]), "does not say what"), ("x", "Expecting value"),
        (json.dumps(lines[0]) + '\n{"id": "x", "verdict": "A"}', "line 2: a label needs"),
    ):  # fmt: skip
        path.write_text(text)
        assert cli.main(["review", "import", str(path)]) == 2
        assert words in capsys.readouterr().err
