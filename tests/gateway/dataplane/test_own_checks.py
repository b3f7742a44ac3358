"""Checks of the user's own: what they are given, what follows from what they say, and what they may not do to a request."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.model import reader
from graduand.gateway.model.routes import Route, Student, Teacher
from tests.gateway.dataplane.inprocess import Running, records, upstream
from tests.gateway.running import until
from tests.gateway.speaking import Answer, Client, chat
from tests.gateway.upstream import Upstream, answer, text_of

TEACHER, STUDENT = "gpt-4o", "small@3f9c1a0b22de"
Json = dict[str, Any]
PATIENT = "60s"
GOOD = (200, b'{"pass": true}')


class Endpoint:
    """A check that says what it is told to, and remembers what it was given."""

    def __init__(self) -> None:
        owner = self
        self.says: tuple[int, bytes] = GOOD
        self.given: list[Json] = []
        self.go_on = threading.Event()
        self.go_on.set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                owner.given.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                owner.go_on.wait(60)
                status, body = owner.says
                head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n"
                self.wfile.write(head.encode() + body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/check"

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    one = Endpoint()
    yield one
    one.close()


class World:
    """A data plane whose route `r` has the student answer."""

    def __init__(self, folder: Path, server: Upstream, *checks: Any, **route: Any) -> None:
        self.folder = folder
        self.teacher, self.student = server.place(f"{folder.name}-t", answer), server.place(f"{folder.name}-s", answer)
        asked: Any = {
            "teacher": Teacher("t", TEACHER), "student": Student("s", STUDENT), "mode": "student", "shadow_bp": 0,
            "checks": checks, **route,
        }  # fmt: skip
        places = [upstream("t", "openai", self.teacher.url), upstream("s", "vllm", self.student.url)]
        self.running = Running(folder, places, [Route("r", **asked)])

    def ask(self, **more: Any) -> Answer:
        with Client(self.running.port) as client:
            return client.ask(chat("r", **more))

    def records(self) -> list[Json]:
        self.running.close()
        return records(self.folder)


@pytest.fixture
def world(tmp_path: Path, upstream: Upstream) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(*checks: Any, **route: Any) -> World:
        made.append(World(tmp_path, upstream, *checks, **route))
        return made[-1]

    yield make
    for one in made:
        if not one.running.loop.is_closed():
            one.running.close()


def own(endpoint: Endpoint, **more: Any) -> Json:
    return {"own": {"name": "policy", "url": endpoint.url, "time_limit": PATIENT, **more}}


def script(text: str, **more: Any) -> Json:
    return {
        "own": {"name": "policy", "command": [sys.executable, "-I", "-S", "-c", text], "time_limit": PATIENT, **more}
    }


def verdict(records: list[Json]) -> Json:
    """What `policy` said of the student's answer, whoever got it."""
    (found,) = [one for record in records if record["arm"] == "student" for one in record["verdicts"]]
    return {name: found[name] for name in ("name", "score", "label", "action")}


def test_what_a_check_is_given(world: Callable[..., World], endpoint: Endpoint) -> None:
    one = world(own(endpoint))
    got = one.ask(temperature=0.5)
    assert got.text == text_of(STUDENT)
    (given,) = endpoint.given
    assert given["route"] == "r"
    assert given["request"] == {**chat("r", temperature=0.5)}
    assert given["response"]["choices"] == got.data["choices"]
    assert given["text"] == got.text


SAID = [
    ((200, b'{"pass": true}'), None, (1.0, "pass", "none")),
    ((200, b'{"pass": true, "reason": "fine"}'), None, (1.0, "fine", "none")),
    ((200, b'{"pass": false}'), "teacher", (0.0, "failed", "fallback")),
    ((200, b'{"pass": false, "reason": "names a rival"}'), "teacher", (0.0, "names a rival", "fallback")),
    ((200, b'{"score": 0.5}'), None, (0.5, "pass", "none")),
    ((200, b'{"score": 0.49, "reason": "so so"}'), "teacher", (0.49, "so so", "fallback")),
    ((200, b'{"score": 1}'), None, (1.0, "pass", "none")),
    ((200, b'{"score": 1.01}'), "teacher", (1.0, "error:no_verdict", "fallback")),
    ((200, b'{"score": true}'), "teacher", (1.0, "error:no_verdict", "fallback")),
    ((200, b'{"score": 0.9, "pass": true}'), "teacher", (1.0, "error:no_verdict", "fallback")),
    ((200, b'{"pass": 1}'), "teacher", (1.0, "error:no_verdict", "fallback")),
    ((200, b"{}"), "teacher", (1.0, "error:no_verdict", "fallback")),
    ((200, b"[]"), "teacher", (1.0, "error:not_json", "fallback")),
    ((200, b""), "teacher", (1.0, "error:not_json", "fallback")),
    ((200, b"<html>"), "teacher", (1.0, "error:not_json", "fallback")),
    ((200, b" " * (1 << 17)), "teacher", (1.0, "error:too_long", "fallback")),
    ((500, b'{"pass": true}'), "teacher", (1.0, "error:http_500", "fallback")),
    ((302, b""), "teacher", (1.0, "error:http_302", "fallback")),
]  # fmt: skip


@pytest.mark.parametrize(("says", "instead", "found"), SAID, ids=[repr(one[0])[:50] for one in SAID])
@pytest.mark.parametrize("stream", [False, True])
def test_what_follows(
    world: Callable[..., World], endpoint: Endpoint, says: Any, instead: str | None, found: Any, stream: bool
) -> None:
    endpoint.says = says
    one = world(own(endpoint), release="block")
    got = one.ask(stream=stream)
    assert got.whole
    assert got.text == text_of(TEACHER if instead else STUDENT)
    assert got.said == (("teacher", "fallback:check:policy") if instead else ("student", "student"))
    score, label, action = found
    assert verdict(one.records()) == {"name": "policy", "score": score, "label": label, "action": action}


COMMANDS = [
    ("pass", None, "pass"),
    ("raise SystemExit(1)", "teacher", "failed"),
    ("raise SystemExit(7)", "teacher", "error:exit_7"),
    ("print('{\"score\": 0.2, \"reason\": \"no\"}')", "teacher", "no"),
    ("print('{\"pass\": true, \"reason\": \"ok\"}'); raise SystemExit(1)", None, "ok"),
    ("print('hm')", "teacher", "error:not_json"),
    ("import json, sys; assert json.load(sys.stdin)['route'] == 'r'", None, "pass"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "teacher", "error:exit_-9"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "instead", "label"), COMMANDS, ids=[one[0][:30] for one in COMMANDS])
def test_commands(world: Callable[..., World], text: str, instead: str | None, label: str) -> None:
    one = world(script(text))
    assert one.ask().text == text_of(TEACHER if instead else STUDENT)
    assert verdict(one.records())["label"] == label


def test_a_command_that_is_not_there(world: Callable[..., World]) -> None:
    one = world({"own": {"name": "policy", "command": ["/nowhere/to/be/found"]}})
    assert one.ask().text == text_of(TEACHER)
    assert verdict(one.records())["label"] == "error:cannot_start"


def test_a_late_check_is_not_waited_for(world: Callable[..., World], endpoint: Endpoint) -> None:
    endpoint.go_on.clear()
    one = world(own(endpoint, time_limit="1s"))
    until(lambda: one.running.shared is not None, "it runs")

    def ask() -> None:
        got.append(one.ask())

    got: list[Answer] = []
    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: bool(endpoint.given), "the check is asked")
    one.running.let_pass(2)
    thread.join(60)
    assert got[0].said == ("teacher", "fallback:check:policy")
    assert verdict(one.records())["label"] == "timeout"


def test_a_command_that_hangs_is_killed_with_its_children(world: Callable[..., World], tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    one = world({"own": {"name": "policy", "command": [sys.executable, "-c", text], "time_limit": "3s"}})
    assert one.ask().text == text_of(TEACHER)
    child = int((tmp_path / "child").read_text())
    until(lambda: not _runs(child), "the child is gone")


def _runs(process: int) -> bool:
    """Whether it is there and no zombie that only its adopter has yet to bury."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_same_answer_is_asked_about_once(world: Callable[..., World], endpoint: Endpoint) -> None:
    one = world(own(endpoint))
    for _ in range(3):
        assert one.ask().said[0] == "student"
    assert len(endpoint.given) == 1
    one.ask(temperature=0.3)  # another request, though the answer is the same
    assert len(endpoint.given) == 2


def test_what_failed_to_answer_is_not_remembered(world: Callable[..., World], endpoint: Endpoint) -> None:
    endpoint.says = (503, b"")
    one = world(own(endpoint))
    assert one.ask().said[0] == "teacher"
    endpoint.says = GOOD
    assert one.ask().said[0] == "student"


@pytest.mark.parametrize("action", ["flag", "block"])
def test_other_actions(world: Callable[..., World], endpoint: Endpoint, action: str) -> None:
    endpoint.says = (200, b'{"pass": false, "reason": "quotes the answer"}')
    one = world(own(endpoint, action=action))
    got = one.ask()
    if action == "flag":
        assert got.text == text_of(STUDENT)
    else:
        assert (got.status, got.error["code"]) == (400, "content_filter")
        assert "quotes the answer" not in got.body.decode()
    assert verdict(one.records())["action"] == action


def test_what_has_failed_already_is_not_asked_about(world: Callable[..., World], endpoint: Endpoint) -> None:
    one = world({"max_length": 1}, own(endpoint))
    assert one.ask().said == ("teacher", "fallback:check:max_length")
    assert endpoint.given == []


def test_copies_are_asked_about_and_the_teachers_answers_are_not_kept_waiting(
    world: Callable[..., World], endpoint: Endpoint
) -> None:
    endpoint.says = (200, b'{"pass": false}')
    one = world(own(endpoint), mode="shadow", shadow_bp=10_000)
    assert one.ask().text == text_of(TEACHER)
    until(lambda: bool(endpoint.given), "the copy is checked")
    until(lambda: one.running.plane.shadower.size == 0, "the copy has ended")
    found = one.records()
    assert verdict(found)["action"] == "flag"
    assert [record["verdicts"] for record in found if record["arm"] == "teacher"] == [[]]


def test_an_answer_that_was_blocked_is_compared_too(world: Callable[..., World], endpoint: Endpoint) -> None:
    """Or nobody would see how often the student's answers are held back from its users."""
    endpoint.says = (200, b'{"pass": false}')
    one = world(own(endpoint, action="block"), audit_bp=10_000)
    assert one.ask().status == 400
    until(lambda: one.teacher.asked == 1 and one.running.plane.shadower.size == 0, "the teacher is asked as well")
    found = one.records()
    served = next(record for record in found if record["role"] == "served")
    assert reader.comparable(served)
    assert [record["parent_id"] for record in found if record["role"] == "audit"] == [served["id"]]
