"""A hybrid rollout of a real gateway: a threshold is learnt in the shadow, and holds back what is unsure."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway import cli
from tests.gateway.control.conftest import Live
from tests.gateway.control.live import SUCCESSOR, TEACHER, UNSURE, Users, answer, prompt, stored
from tests.gateway.running import until
from tests.gateway.speaking import Answer, Client

SURE, UNSURE_AND_WRONG = 1, 10


def ask(live: Live, number: int, model: str = "hybrid", **more: Any) -> Answer:
    with Client(live.gateway.port) as client:
        return client.ask({"model": model, "messages": [{"role": "user", "content": prompt(number)}], **more})


@pytest.fixture(scope="module")
def rollout(live: Live) -> str:
    steps = [{"shadow": {"pairs": 60, "t_max": "10m"}}, {"hybrid": {"requests": 50, "dwell": "300ms", "risk": 0.05}}]
    name = live.rollouts.start(
        "hybrid", UNSURE, steps=steps, gates=["agreement 0.7"], harm=[{"agreement": {"p0": 0.5}}], audit=0.5
    )
    with Users(live.gateway.port, "hybrid", pause_s=0.01):
        live.rollouts.until(name, "promoted")
        while live.rollouts.get(name)["watch"]["n"] < 5:
            time.sleep(0.05)
    return name


def test_sure_answers_are_the_students_and_unsure_ones_the_teachers(live: Live, rollout: str) -> None:
    sure, unsure = ask(live, SURE), ask(live, UNSURE_AND_WRONG)
    assert (sure.headers["x-graduand-arm"], sure.headers["x-graduand-reason"]) == ("student", "hybrid:confident")
    assert (unsure.headers["x-graduand-arm"], unsure.headers["x-graduand-reason"]) == ("teacher", "hybrid:deferred")
    assert (sure.data["model"], unsure.data["model"]) == (UNSURE, TEACHER)
    assert (sure.text, unsure.text) == (answer(TEACHER, SURE), answer(TEACHER, UNSURE_AND_WRONG))
    assert sure.data["choices"][0]["logprobs"] is None  # asked for by the gateway, not by this client


def test_streams_are_held_until_they_are_judged(live: Live, rollout: str) -> None:
    sure, unsure = ask(live, SURE, stream=True), ask(live, UNSURE_AND_WRONG, stream=True)
    assert (sure.headers["x-graduand-reason"], sure.text) == ("hybrid:confident", answer(TEACHER, SURE))
    assert (unsure.headers["x-graduand-reason"], unsure.text) == ("hybrid:deferred", answer(TEACHER, UNSURE_AND_WRONG))
    assert "maybe" not in unsure.body.decode()
    assert "logprob" not in sure.body.decode().replace('"logprobs":null', "")
    assert sure.events[-1] == unsure.events[-1] == "[DONE]"


@pytest.mark.parametrize(("asked", "seen"), [({}, 0), ({"top_logprobs": 1}, 1), ({"top_logprobs": 2}, 2)])
def test_a_client_gets_the_log_probabilities_that_it_asked_for(
    live: Live, rollout: str, asked: dict[str, int], seen: int
) -> None:
    for stream in (False, True):
        got = ask(live, SURE, logprobs=True, stream=stream, **asked)
        choice = (got.events[0] if stream else got.data)["choices"][0]
        [token] = choice["logprobs"]["content"]
        assert token["logprob"] == -0.1
        assert len(token["top_logprobs"]) == seen


def test_what_cannot_be_judged_is_the_teachers(live: Live, rollout: str) -> None:
    got = ask(live, SURE, n=2)
    assert (got.headers["x-graduand-arm"], got.headers["x-graduand-reason"]) == ("teacher", "hybrid:deferred")
    assert len(got.data["choices"]) == 2


def test_the_books(live: Live, rollout: str) -> None:
    number = ask(live, UNSURE_AND_WRONG).headers["x-graduand-id"]
    until(lambda: any(one["id"] == number for one in live.gateway.records()), "it is logged")
    records = live.gateway.records()
    [served] = [one for one in records if one["id"] == number]
    [held] = [one for one in records if one["parent_id"] == number and one["role"] == "deferred"]
    assert (served["assigned_arm"], served["arm"], served["reason"]) == ("student", "teacher", "hybrid:deferred")
    assert [one["arm"] for one in served["attempts"]] == ["student", "teacher"]
    assert (held["arm"], held["adapter"], "maybe" in held["response_json"]) == ("student", UNSURE, True)
    status = live.rollouts.get(rollout)
    assert status["threshold"]["ready"]
    assert 0.7 < status["threshold"]["coverage"] < 0.95
    assert status["threshold"]["disagreed"] == 0
    assert status["watch"]["log_e"] < 1  # the audit agrees with what was promised
    audits = [one for one in records if one["role"] == "audit" and one["route"] == "hybrid"]
    assert audits
    assert {one["arm"] for one in audits} == {"teacher"}


def test_without_a_threshold_the_teacher_answers_and_says_so(live: Live) -> None:
    assert live.gateway.change("unlearnt", mode="hybrid").status_code == 200
    live.gateway.settled()
    got = ask(live, SURE, "unlearnt")
    assert (got.headers["x-graduand-arm"], got.headers["x-graduand-reason"]) == ("teacher", "hybrid:deferred")
    assert live.gateway.admin.get("/v1/routes/unlearnt").json()["threshold"] is None


def test_an_expired_threshold_holds_nothing_back_and_lets_nothing_through(live: Live, rollout: str) -> None:
    store = stored(live.gateway)
    row = store.row(rollout)
    assert row is not None
    assert row.learning.threshold is not None
    row.learning = replace(row.learning, threshold=replace(row.learning.threshold, expires_at=time.time() - 1))
    from graduand.gateway.config.read import load
    from graduand.gateway.control import moves

    with store.transaction():
        moves.carry_threshold(store, row, time.time(), load(live.gateway.file).routes)
    live.gateway.settled()
    got = ask(live, SURE)
    assert (got.headers["x-graduand-arm"], got.headers["x-graduand-reason"]) == ("teacher", "hybrid:deferred")
    with Users(live.gateway.port, "hybrid", pause_s=0.01):  # copies of these teach a new one
        end = time.time() + 90
        while ask(live, SURE).headers["x-graduand-reason"] != "hybrid:confident":
            assert time.time() < end, live.rollouts.get(rollout)["threshold"]
            time.sleep(0.05)
    store.close()


def test_a_hybrid_incumbent_goes_on_answering_what_it_is_sure_of(live: Live, rollout: str) -> None:
    before = live.gateway.admin.get("/v1/routes/hybrid").json()
    second = live.rollouts.start(
        "hybrid", SUCCESSOR, steps=[{"shadow": {"pairs": 10_000}}, "full"], gates=["agreement 0.5", "incumbent 0.3"],
        audit=1.0,
    )  # fmt: skip
    live.rollouts.until(second, "shadow")
    live.gateway.settled()
    sure, unsure = ask(live, SURE), ask(live, UNSURE_AND_WRONG)
    assert (sure.headers["x-graduand-reason"], sure.data["model"]) == ("hybrid:confident", UNSURE)
    assert (unsure.headers["x-graduand-reason"], unsure.data["model"]) == ("hybrid:deferred", TEACHER)
    while live.rollouts.get(second)["pairs"] < 2:
        time.sleep(0.05)
    seen = live.rollouts.get(second)
    # What was deferred is the teacher's: the two students are compared only where the one in service answered.
    assert next(gate["n"] for gate in seen["gates"] if gate["name"] == "incumbent") == 1
    assert next(gate["n"] for gate in seen["gates"] if gate["name"] == "agreement") == 2
    assert live.rollouts.verb(second, "abort").status_code == 200
    after = live.gateway.admin.get("/v1/routes/hybrid").json()
    moving = {"version": 0, "verdicts": []}  # what the monitors say may change in between
    assert {**after, **moving} == {**before, **moving}
    assert live.rollouts.get(rollout)["phase"] == "promoted"


def test_the_log_gives_a_cost_quality_curve(
    live: Live, rollout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    curve = [
        "rollout", "curve", "--from", f"{live.gateway.folder}/logs", "--route", "hybrid", "--out", str(tmp_path / "out"),
        "--config", str(live.gateway.file), "--json",
    ]  # fmt: skip
    assert cli.main(curve) == 0
    found = json.loads(capsys.readouterr().out)
    at = {round(one["share"], 1): one for one in found["at"]}
    # One in ten is wrong, and it is among the fifth that the student is unsure of.
    assert found["agreement"] == pytest.approx(0.9, abs=0.03)
    assert at[0.8]["disagreement"] < 0.02
    assert found["apgr"] > 0.8
    assert [Path(path).stat().st_size > 500 for path in found["written"]] == [True, True]
    assert json.loads((tmp_path / "out" / "curve.json").read_text())["points"][0]["cut"] is None

    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as where it is not installed
    assert cli.main([*curve[:-1]]) == 0
    out = capsys.readouterr().out
    assert "matplotlib is not installed" in out
    assert "answered by the student" in out
    assert cli.main([*curve[:4], "--route", "team/verbs", *curve[6:]]) == 2
    assert "no pairs of route 'team/verbs'" in capsys.readouterr().err
