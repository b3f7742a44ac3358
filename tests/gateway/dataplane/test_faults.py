"""Every fault of the table, committed by a real socket server to a real gateway: what the client, the log and the
upstream saw."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway import faults
from tests.gateway.conftest import Start
from tests.gateway.faults import PATIENT_S, UPSTREAM_KEY, Case, cases
from tests.gateway.proxies import ProxyServer
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import Answer, chat
from tests.gateway.upstream import Upstream, text_of

CASES = list(cases())
TEACHER, STUDENT = "gpt-4o", "small@3f9c1a0b22de"
AT_ONCE = 6


@dataclass
class Outcome:
    """What the client got, and how long it took."""

    answer: Answer
    took_s: float


@pytest.fixture(scope="module")
def gateway(start: Start, upstream: Upstream) -> Iterator[Gateway]:
    """One gateway for all cases; each case has upstreams, and so breakers and budgets, of its own."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        refused = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        upstreams, routes, proxies = {}, {}, list[ProxyServer]()
        for case in CASES:
            faulty = upstream.place(case.place, case.fault.then, case.fault.script)
            upstream.place(case.place + "-good")
            urls = {"faulty": refused if case.fault.refused else faulty.url, "good": faulty.url + "-good"}
            for role, url in urls.items():
                upstreams[f"{case.place}-{role}"] = configured(url, api_key={"env": "TEST_UPSTREAM_KEY"})
            if case.fault.proxy is not None:
                proxies.append(ProxyServer(case.fault.proxy))
                upstreams[f"{case.place}-faulty"]["proxy"] = proxies[-1].url
            teacher, student = ("faulty", "good") if case.arm == "teacher" else ("good", "faulty")
            routes[case.place] = route(
                f"{case.place}-{teacher}", f"{case.place}-{student}", timeouts=case.timeouts,
                mode="teacher" if case.arm == "teacher" else "student",
                release="block" if case.form == "block" else "observe",
            )  # fmt: skip
        yield start(upstreams, routes, environ={"TEST_UPSTREAM_KEY": UPSTREAM_KEY})
        for proxy in proxies:
            proxy.close()


@pytest.fixture(scope="module")
def outcomes(gateway: Gateway) -> Iterator[dict[Case, "Future[Outcome]"]]:
    """All cases: those that mostly wait at once, the others a few at a time."""

    def run(case: Case) -> Outcome:
        began = time.monotonic()
        with gateway.client() as client:
            answer = client.ask(chat(case.place, stream=case.form != "whole"))
            took_s = time.monotonic() - began
            if case.expect.got == "broken":
                assert client.closed()
        return Outcome(answer, took_s)

    waiting = sum(case.waits for case in CASES)
    with ThreadPoolExecutor(waiting) as waiters, ThreadPoolExecutor(AT_ONCE) as pool:
        yield {case: (waiters if case.waits else pool).submit(run, case) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_fault(case: Case, gateway: Gateway, upstream: Upstream, outcomes: dict[Case, "Future[Outcome]"]) -> None:
    outcome = outcomes[case].result()
    answer, expect = outcome.answer, case.expect
    check_answer(case, answer)
    check_record(case, answer, gateway)
    assert upstream.places[case.place].asked == expect.asked
    arms = {"teacher": 0, "student": int(expect.fallback is not None)}
    assert upstream.places[case.place + "-good"].asked == arms[case.arm]
    # Not by the patient timeouts, which are there for a machine that stands still.
    assert expect.at_least_s <= outcome.took_s < PATIENT_S


def check_answer(case: Case, answer: Answer) -> None:
    expect = case.expect
    assert answer.status == expect.status, answer
    arm = "teacher" if expect.fallback is not None else case.arm
    assert answer.said == (arm, f"fallback:{expect.fallback}" if expect.fallback else case.arm)
    assert answer.headers.get("retry-after") == expect.retry_after
    shown = str(answer.headers) + answer.body.decode()
    assert UPSTREAM_KEY not in shown
    assert "secret" not in shown
    if expect.got == "answer":
        model = TEACHER if arm == "teacher" else STUDENT
        assert answer.whole
        assert answer.text == text_of(model)
        check_ending(case, answer, model)
    elif expect.got == "error":
        assert answer.whole
        if expect.code is not None:
            assert answer.error["code"] == expect.code
        assert {"message", "type"} <= answer.error.keys()
        if case.fault.passes is not None:
            assert case.fault.passes in answer.body.decode()
    else:
        assert not answer.whole  # no last chunk: no HTTP client takes this for an answer
        *sent, last = answer.events
        assert last["error"]["code"] == expect.code
        longer = any(word in case.name for word in ("finish", "for ever"))
        assert 0 < len(answer.text) < len(text_of(TEACHER if arm == "teacher" else STUDENT)) or longer
        assert "[DONE]" not in sent


def check_ending(case: Case, answer: Answer, model: str) -> None:
    if case.form == "whole":
        assert answer.data["model"] == model
        assert answer.data["choices"][0]["finish_reason"] == "stop"
        return
    *chunks, done = answer.events
    assert done == "[DONE]"
    assert {chunk["model"] for chunk in chunks} == {model}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "stop"


def check_record(case: Case, answer: Answer, gateway: Gateway) -> None:
    expect = case.expect
    record = gateway.record(answer.headers["x-graduand-id"])
    assert record["completed"] == (expect.got == "answer")
    assert record["status"] == expect.status
    assert record["route"] == case.place
    assert record["assigned_arm"] == case.arm
    assert (record["arm"], record["reason"]) == answer.said
    assert record["fallback_reason"] == expect.fallback
    assert record["client_disconnected"] is False
    faulty = [one for one in record["attempts"] if one["upstream"].endswith("faulty")]
    assert len(faulty) == (expect.asked or len(faulty))
    assert all(one["arm"] == case.arm for one in faulty)
    assert (record["error"] is None) == (expect.got == "answer")
    if expect.got == "answer":
        whole = {"prompt_tokens": 7, "completion_tokens": 5, "kind": "exact"}
        assert record["usage"] == whole if case.fault.counts else record["usage"]["kind"] == "estimated"
    else:
        assert record["usage"]["kind"] == "partial"


def test_no_key_in_the_log(gateway: Gateway, outcomes: dict[Case, "Future[Outcome]"]) -> None:
    for future in outcomes.values():
        future.result()
    assert UPSTREAM_KEY not in gateway.raw_log()
    assert UPSTREAM_KEY not in gateway.errors
    assert UPSTREAM_KEY not in gateway.admin.get("/metrics").text


def test_every_case_is_counted_once(gateway: Gateway, outcomes: dict[Case, "Future[Outcome]"]) -> None:
    answers = {future.result().answer.headers["x-graduand-id"] for future in outcomes.values()}
    until(lambda: len(gateway.records()) >= len(answers), "all is written")
    served = [one["id"] for one in gateway.records()]
    assert sorted(served) == sorted(answers)
    assert gateway.total("graduand_requests_total") == len(served)


def test_the_page_is_up_to_date() -> None:
    written = (Path(__file__).parents[3] / "docs" / "faults.md").read_text()
    assert written == faults.page(), "run: python -m tests.gateway.faults > docs/faults.md"
