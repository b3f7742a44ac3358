"""Feedback: stored once, on the disk before it is acknowledged, refused when it cannot be about any answer."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from graduand.gateway.admin.app import app
from graduand.gateway.admin.calls import Configuration
from graduand.gateway.logs import feedback
from graduand.gateway.logs.feedback import FeedbackLog, NewFeedback
from graduand.gateway.logs.query import Log
from graduand.gateway.logs.reading import Source
from graduand.gateway.model import record
from graduand.gateway.model.recording import DEFAULT, RecordPolicy
from graduand.gateway.model.routes import Route, Settings, Teacher
from graduand.monitoring.metrics import Metrics, Totals
from graduand.monitoring.series import SeriesFile


def application(folder: Path, policy: RecordPolicy = DEFAULT) -> FastAPI:
    settings = Settings(
        {},
        {"r": Route("r", Teacher("u", "m"))},
        state=f"sqlite:///{folder}/state.db",
        logs=f"file://{folder}/logs",
        record=policy,
    )
    return app(Configuration(settings, Totals(folder), Metrics(SeriesFile(folder / "admin.series"))))


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(application(tmp_path), raise_server_exceptions=False)


def stored(folder: Path) -> list[dict[str, Any]]:
    paths = (folder / "logs" / "feedback" / "segments").glob("*.jsonl")
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_what_is_said_is_stored_and_joined(client: TestClient, tmp_path: Path) -> None:
    number = record.new_id()
    said = {"id": number, "score": 1, "label": "good", "correction": "better", "comment": "ü\n", "who": "ann"}
    answer = client.post("/v1/feedback", json=said)
    assert (answer.status_code, answer.json()["stored"], answer.json()["id"]) == (201, True, number)
    [row] = stored(tmp_path)
    assert {name: row[name] for name in said} == said
    with Log(Source.of(str(tmp_path / "logs"))) as log:
        assert log.query("SELECT label, who, score FROM feedback").fetchall() == [("good", "ann", 1.0)]
    assert 'graduand_feedback_total{outcome="stored",route=""} 1.0' in client.get("/metrics").text


def test_the_same_again_counts_once(client: TestClient, tmp_path: Path) -> None:
    number = record.new_id()
    for key, body, fresh in (
        ("", {"score": 1}, True),
        ("", {"score": 1}, False),
        ("", {"score": 0}, True),
        ("k", {"score": 5}, True),
        ("k", {"score": 6}, False),
    ):
        answer = client.post("/v1/feedback", json={"id": number, **body}, headers={"idempotency-key": key})
        assert (answer.status_code, answer.json()["stored"]) == ((201, True) if fresh else (200, False))
    assert len(stored(tmp_path)) == 3
    # Another process does not remember; readers count it once all the same.
    TestClient(application(tmp_path)).post("/v1/feedback", json={"id": number, "score": 1})
    assert len(stored(tmp_path)) == 4
    with Log(Source.of(str(tmp_path / "logs"))) as log:
        assert log.query("SELECT count(*) FROM feedback").fetchall() == [(3,)]


FUTURE = str(uuid.UUID(int=(int((time.time() + 3600) * 1000) << 80) | (7 << 76) | (2 << 62)))
NOW = record.new_id()
RUBBISH = [
    ({"id": "x", "score": 1}, 422, "id: Input should be a valid UUID"),
    ({"id": NOW}, 422, "it says nothing"),
    ({"id": NOW, "score": "high"}, 422, "score: Input should be a valid number"),
    ({"id": NOW, "score": 1e300}, 422, "score: Input should be less than"),
    ({"id": NOW, "scor": 1}, 422, "unknown field 'scor'. Did you mean 'score'"),
    ({"id": NOW, "comment": "x" * 100_001}, 422, "comment: String should have at most"),
    ({"id": str(uuid.uuid4()), "score": 1}, 404, "there is no answer"),
    ({"id": FUTURE, "score": 1}, 404, "its time is in the future"),
    ([], 422, ""),
]


@pytest.mark.parametrize(("body", "status", "words"), RUBBISH)
def test_rubbish(client: TestClient, tmp_path: Path, body: Any, status: int, words: str) -> None:
    answer = client.post("/v1/feedback", json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert stored(tmp_path) == []


def test_a_disk_that_does_not_take_it(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not stored is said, and the same statement is taken when there is room."""
    said = {"id": record.new_id(), "score": 1}

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("graduand.gateway.logs.segment.os.fsync", full)
    answer = client.post("/v1/feedback", json=said)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_stored")
    monkeypatch.undo()
    assert client.post("/v1/feedback", json=said).status_code == 201


def test_it_is_redacted(tmp_path: Path) -> None:
    client = TestClient(application(tmp_path, RecordPolicy(redact=("email",))))
    number = record.new_id()
    for name in ("ann", "bob"):
        client.post(
            "/v1/feedback", json={"id": number, "comment": f"{name}@example.com"}, headers={"x-graduand-who": "x"}
        )
    [row] = stored(tmp_path)
    assert row["comment"] == "[redacted:email]"


def test_old_segments_are_closed(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path, RecordPolicy(seal_s=0.0))
    for score in range(3):
        log.add(NewFeedback(id=uuid.UUID(NOW), score=score), "ann")
        log.tidy()
    assert len(list((tmp_path / "feedback" / "segments").iterdir())) == 3


def test_few_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "REMEMBERED", 2)
    log = FeedbackLog(tmp_path, RecordPolicy())
    fresh = [log.add(NewFeedback(id=uuid.UUID(NOW), score=score), "ann")[1] for score in (1, 2, 3, 3, 1)]
    assert fresh == [True, True, True, False, True]
