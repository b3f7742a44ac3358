"""What time does to a request, with clocks that the test sets: patience, the fallback's half, life, pauses."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.dataplane.http.server import KEEP_ALIVE_S, OPEN_MARGIN_S
from graduand.gateway.model.routes import Route, Student, Teacher, Timeouts, Upstream
from tests.gateway.dataplane.inprocess import Running, records
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.faults import overloaded
from tests.gateway.running import until
from tests.gateway.speaking import Answer, Client, chat
from tests.gateway.upstream import Action, Conversation, Place, Told, answer, chunk, good_events, text_of, tokens
from tests.gateway.upstream import Upstream as Server

TEACHER, STUDENT = "gpt-4o", "small@3f9c1a0b22de"
Json = dict[str, Any]


class World:
    """A data plane with one route `r` and what its two models do."""

    def __init__(
        self, folder: Path, server: Server, *, teacher: Action = answer, student: Action | None = None,
        replicas: int = 1, teacher_s: float | None = None, student_s: float | None = None, **route: Any,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.teachers = [server.place(f"{folder.name}-t{number}", teacher) for number in range(replicas)]
        self.student = server.place(f"{folder.name}-s", student or answer)
        addresses = [one_upstream("t", "openai", place.url).replicas[0] for place in self.teachers]
        teachers = Upstream("t", "openai", tuple(addresses))
        asked = {
            "teacher": Teacher("t", TEACHER, teacher_s), "student": Student("s", STUDENT, student_s), "shadow_bp": 0,
            "mode": "teacher" if student is None else "student", **route,
        }  # fmt: skip
        self.running = Running(folder, [teachers, one_upstream("s", "vllm", self.student.url)], [Route("r", **asked)])
        self._waiting: list[threading.Thread] = []

    @property
    def teacher(self) -> Place:
        return self.teachers[0]

    @contextlib.contextmanager
    def asking(self, **more: Any) -> Iterator["Asking"]:
        with Client(self.running.port) as client:
            client.post(chat("r", **{"stream": True, **more}))
            yield Asking(self, client)

    def record(self) -> Json:
        self.running.close()
        (record,) = [one for one in records(self.folder) if one["parent_id"] is None]
        return record


class Asking:
    """A request whose answer is read in a thread while the test lets time pass."""

    def __init__(self, world: World, client: Client) -> None:
        self._world = world
        self._answers: list[Answer | BaseException] = []
        self._thread = threading.Thread(target=self._read, args=(client,), daemon=True)
        self._thread.start()

    def _read(self, client: Client) -> None:
        try:
            self._answers.append(client.read())
        except (OSError, ValueError) as error:
            self._answers.append(error)

    @property
    def ended(self) -> bool:
        return bool(self._answers)

    def answer(self) -> Answer:
        """The answer, for which no time passes any more."""
        self._thread.join(60)
        (got,) = self._answers
        assert isinstance(got, Answer), got
        return got

    def closed(self) -> bool:
        """Whether the connection ended without an answer."""
        self._thread.join(60)
        (got,) = self._answers
        return isinstance(got, OSError)

    def answer_within(self, seconds: float, step_s: float = 0.25) -> tuple[float, Answer]:
        """The answer, and after how much time it came at the latest."""
        clock = self._world.running.loop.time
        began = clock()
        while not self.ended and clock() < began + seconds:
            self._world.running.let_pass(step_s)
            self._thread.join(0.02)
        return clock() - began, self.answer()


Make = Callable[..., World]


@pytest.fixture
def world(tmp_path: Path, upstream: Server) -> Iterator[Make]:
    made: list[World] = []

    def make(**how: Any) -> World:
        folder = tmp_path / f"{tmp_path.name}-{len(made)}"
        folder.mkdir()
        made.append(World(folder, upstream, **how))
        return made[-1]

    yield make
    for one in made:
        if one.running.loop.is_running():
            one.running.close()


def begin(told: Told, *events: Json | str) -> Conversation:
    """Take the next request and begin its stream."""
    one = told.next()
    one.start_stream()
    say(one, *events)
    return one


def say(one: Conversation, *events: Json | str) -> None:
    one.events(events)
    one.taken()


def comment(one: Conversation) -> None:
    one.piece(b": PROCESSING\n\n")
    one.taken()


def finish(one: Conversation, told: Told, events: list[Json | str]) -> None:
    one.events(events)
    one.end_stream()
    told.end()


# First-token patience.


def test_a_teacher_with_nobody_behind_it_is_waited_for(world: Make) -> None:
    """It thinks for longer than any default: one question, one bill, and the client sees bytes meanwhile."""
    told = Told()
    it = world(teacher=told)
    with it.asking() as asking:
        one = told.next()
        it.running.let_pass(15)
        one.start_stream()
        say(one, tokens(TEACHER)[0])
        for _ in range(5):
            it.running.let_pass(3)
            comment(one)
        assert not asking.ended
        finish(one, told, good_events(TEACHER)[1:])
        got = asking.answer()
    assert (got.status, got.whole, got.text, got.said) == (200, True, text_of(TEACHER), ("teacher", "teacher"))
    assert it.teacher.asked == 1
    assert it.record()["attempts"][0]["outcome"] == "ok"


# By whom; seconds of the route and of the model; after how many seconds somebody says so.
PATIENCE = [
    ("teacher", None, None, 60.0), ("teacher", 4.0, None, 4.0), ("teacher", 4.0, 8.0, 8.0), ("teacher", None, 3.0, 3.0),
    ("student", None, None, 10.0), ("student", 4.0, None, 4.0), ("student", 4.0, 8.0, 8.0), ("student", None, 3.0, 3.0),
]  # fmt: skip


@pytest.mark.parametrize(("arm", "route_s", "own_s", "borne_s"), PATIENCE)
def test_patience_is_the_models_before_the_routes(
    world: Make, arm: str, route_s: float | None, own_s: float | None, borne_s: float
) -> None:
    told = Told()
    times = {} if route_s is None else {"first_token_s": route_s}
    it = world(**{arm: told, f"{arm}_s": own_s}, timeouts=Timeouts(**times, idle_s=99, total_s=60))
    with it.asking() as asking:
        told.next()
        passed, got = asking.answer_within(70)
    told.end()
    assert borne_s <= passed <= borne_s + 0.75
    if arm == "student":
        assert (got.text, got.said) == (text_of(TEACHER), ("teacher", "fallback:first_token_timeout"))
    else:
        cause = "total_timeout" if borne_s == 60 else "first_token_timeout"
        error = got.events[-1] if got.status == 200 else got.data
        assert (got.status, error["error"]["code"]) == (504 if borne_s < KEEP_ALIVE_S else 200, cause)
    assert (it.teacher.asked, it.student.asked) == ((1, 0) if arm == "teacher" else (1, 1))


def test_a_student_that_sends_comments_for_ever_leaves_the_teacher_half_of_the_time(world: Make) -> None:
    told = Told()
    it = world(student=told, timeouts=Timeouts(first_token_s=3, total_s=30))
    with it.asking() as asking:
        one = begin(told)
        for _ in range(7):
            it.running.let_pass(2)
            comment(one)
        assert not asking.ended
        _, got = asking.answer_within(2)
    told.end()
    assert (got.text, got.said) == (text_of(TEACHER), ("teacher", "fallback:first_token_timeout"))


# After a timeout.


@pytest.mark.parametrize(("replicas", "asked"), [(1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("begins", [False, True])
def test_a_timeout_is_not_repeated(world: Make, replicas: int, asked: int, begins: bool) -> None:
    """Whoever is silent may still be at work for it: another replica may be asked, once, and the same one never."""
    told = Told()
    it = world(
        teacher=told, replicas=replicas, retries=5, release="block",
        timeouts=Timeouts(first_token_s=1.5, idle_s=1.5, total_s=60),
    )  # fmt: skip
    with it.asking() as asking:
        for _ in range(asked):
            one = told.next()
            if begins:
                one.start_stream()
                say(one, *tokens(TEACHER)[:3])
            it.running.let_pass(1.75)
        got = asking.answer()
    told.end()
    assert (got.status, got.error["code"]) == (504, "idle_timeout" if begins else "first_token_timeout")
    assert sorted(place.asked for place in it.teachers) == sorted([1] * asked + [0] * (replicas - asked))


def test_the_other_replica_answers(world: Make) -> None:
    told = Told()
    it = world(teacher=told, replicas=2, timeouts=Timeouts(first_token_s=1.5, total_s=60))
    with it.asking() as asking:
        told.next()
        it.running.let_pass(1.75)
        finish(begin(told), told, good_events(TEACHER))
        assert (asking.answer().text, asking.answer().said) == (text_of(TEACHER), ("teacher", "teacher"))


def test_waits_after_a_429_without_retry_after_grow_to_seconds(world: Make) -> None:
    it = world(teacher=overloaded(), retries=3)
    with it.asking(stream=False) as asking:
        passed, got = asking.answer_within(60)
    assert (got.status, it.teacher.asked) == (429, 4)
    assert passed >= 0.5 + 1 + 2  # and twice as much at the most, if the machine lets it


# The fallback's time.


@pytest.mark.parametrize("form", [{"release": "block"}, {"release": "window", "release_window": 1000}])
def test_a_student_that_is_held_back_leaves_the_teacher_its_time(world: Make, form: Json) -> None:
    """Piece by piece it would go on until `total_s`, and the teacher would never be asked."""
    told = Told()
    it = world(student=told, timeouts=Timeouts(total_s=20), **form)
    with it.asking() as asking:
        one = begin(told, *tokens(STUDENT)[:1])
        for _ in range(9):
            say(one, chunk(STUDENT, content="more "))
            it.running.let_pass(1)
        assert it.teacher.asked == 0
        _, got = asking.answer_within(2)
    told.end()
    assert (got.text, got.said) == (text_of(TEACHER), ("teacher", "fallback:overdue"))
    assert [one["outcome"] for one in it.record()["attempts"]] == ["overdue", "ok"]


def test_a_student_that_breaks_off_late_leaves_the_teacher_its_time(world: Make) -> None:
    told, second = Told(), Told()
    it = world(student=told, teacher=second, release="block", retries=5, timeouts=Timeouts(total_s=20))
    with it.asking() as asking:
        for _ in range(2):
            one = begin(told, *tokens(STUDENT)[:3])
            it.running.let_pass(4)
            one.cut()
        begin(told, *tokens(STUDENT)[:3])
        it.running.let_pass(4)
        told.end()
        one = begin(second)
        it.running.let_pass(5)
        finish(one, second, good_events(TEACHER))
        got = asking.answer()
    assert (got.text, got.said[0]) == (text_of(TEACHER), "teacher")


def test_who_has_begun_to_be_read_has_all_the_time(world: Make) -> None:
    told = Told()
    it = world(student=told, timeouts=Timeouts(total_s=20))
    with it.asking() as asking:
        one = begin(told, *tokens(STUDENT)[:2])
        for _ in range(15):
            it.running.let_pass(1)
            say(one, chunk(STUDENT, content="more "))
        finish(one, told, [chunk(STUDENT, finish="stop"), "[DONE]"])
        got = asking.answer()
    assert (got.whole, got.said) == (True, ("student", "student"))


def test_a_copy_has_all_the_time(world: Make) -> None:
    told = Told()
    it = world(student=told, mode="shadow", shadow_bp=10_000, timeouts=Timeouts(total_s=20))
    with it.asking() as asking:
        assert asking.answer().whole
        one = begin(told, *tokens(STUDENT)[:2])
        for _ in range(15):
            it.running.let_pass(1)
            say(one, chunk(STUDENT, content="more "))
        finish(one, told, [chunk(STUDENT, finish="stop"), "[DONE]"])
        until(lambda: not it.running.plane.shadower.size, "the copy has ended")
    it.running.close()
    (copy,) = [one for one in records(it.folder) if one["role"] == "shadow"]
    assert (copy["error"], copy["completed"]) == (None, True)


def test_a_role_alone_is_no_release(world: Make) -> None:
    """Of a window, the student's role would have left before its first text, and with it the teacher's chance."""
    told = Told()
    it = world(student=told, release="window", release_window=3, retries=0)
    with it.asking() as asking:
        one = begin(told, tokens(STUDENT)[0])
        for text in ("one ", "two ", "three "):
            say(one, chunk(STUDENT, content=text))
        one.cut()
        told.end()
        got = asking.answer()
    assert (got.text, got.said) == (text_of(TEACHER), ("teacher", "fallback:truncated"))


# Life towards the client.


def test_a_waiting_client_is_told_that_somebody_works_for_it(world: Make) -> None:
    """The head leaves before anybody knows who answers; a comment is no answer, so the teacher may still give it."""
    told = Told()
    it = world(student=told, timeouts=Timeouts(first_token_s=12, total_s=60))
    with it.asking() as asking:
        told.next()
        _, got = asking.answer_within(20)
    told.end()
    assert (got.status, got.whole, got.text) == (200, True, text_of(TEACHER))
    assert not {"x-graduand-arm", "x-graduand-reason"} & got.headers.keys()
    assert {"x-graduand-id", "x-graduand-route"} <= got.headers.keys()
    *alive, arm, reason = got.comments
    assert (arm, reason) == ("x-graduand-arm: teacher", "x-graduand-reason: fallback:first_token_timeout")
    assert len(alive) >= 1
    assert got.body.index(b"x-graduand-arm") < got.body.index(b"data:")
    record = it.record()
    assert (record["reason"], record["status"], record["completed"]) == ("fallback:first_token_timeout", 200, True)
    events = [block for block in got.body.split(b"\n\n") if block.startswith(b"data:")]
    assert record["bytes_released_before_verdict"] == sum(len(event) + 2 for event in events)


@pytest.mark.parametrize("code", [503, 429])
def test_a_failure_after_the_head_is_an_event_and_a_broken_connection(world: Make, code: int) -> None:
    told = Told()
    it = world(teacher=told, retries=0)
    with it.asking() as asking:
        one = told.next()
        it.running.let_pass(2 * KEEP_ALIVE_S)
        one.whole(code, {"error": {"message": "no", "type": "x", "code": None}})
        told.end()
        got = asking.answer()
    assert (got.status, got.whole, got.said) == (200, False, ("teacher", "teacher"))
    assert [set(event) for event in got.events] == [{"error"}]
    record = it.record()
    assert (record["completed"], record["bytes_released_before_verdict"]) == (False, 0)
    assert record["error"] == ("http_503" if code == 503 else "rate_limited")


def test_silence_in_the_middle_is_bridged(world: Make) -> None:
    told = Told()
    it = world(teacher=told, timeouts=Timeouts(idle_s=60))
    with it.asking() as asking:
        one = begin(told, *tokens(TEACHER)[:3])
        it.running.let_pass(30)
        finish(one, told, good_events(TEACHER)[3:])
        got = asking.answer()
    assert (got.whole, got.text, got.headers["x-graduand-arm"]) == (True, text_of(TEACHER), "teacher")
    assert 4 <= len(got.comments) <= 6


def test_who_is_not_streamed_to_is_sent_nothing_early(world: Make) -> None:
    told = Told()
    it = world(teacher=told)
    with it.asking(stream=False) as asking:
        one = told.next()
        it.running.let_pass(30)
        answer(one)
        told.end()
        got = asking.answer()
    assert (got.status, got.text, got.said) == (200, text_of(TEACHER), ("teacher", "teacher"))


# Our own pauses.


@pytest.mark.parametrize("stopped_s", [5, 500])
@pytest.mark.parametrize("begun", [False, True])
def test_no_stream_is_cut_for_our_own_pause(world: Make, stopped_s: float, begun: bool) -> None:
    told = Told()
    it = world(teacher=told, timeouts=Timeouts(first_token_s=3, idle_s=3, total_s=60))
    with it.asking() as asking:
        one = begin(told, *tokens(TEACHER)[: 3 if begun else 0])
        it.running.let_pass(1)
        it.running.stand_still(stopped_s)
        it.running.let_pass(1.5)
        finish(one, told, good_events(TEACHER)[3 if begun else 0 :])
        got = asking.answer()
    assert (got.status, got.whole, got.text) == (200, True, text_of(TEACHER))
    assert it.teacher.asked == 1


def test_after_a_pause_silence_counts_again(world: Make) -> None:
    told = Told()
    it = world(teacher=told, timeouts=Timeouts(first_token_s=3, total_s=60))
    with it.asking() as asking:
        told.next()
        it.running.stand_still(500)
        passed, got = asking.answer_within(60)
    told.end()
    assert (got.status, got.error["code"]) == (504, "first_token_timeout")
    assert 2.5 <= passed <= 4


def test_a_fallback_after_a_pause_has_its_time(world: Make) -> None:
    told, second = Told(), Told()
    it = world(student=told, teacher=second, timeouts=Timeouts(first_token_s=3, total_s=60))
    with it.asking() as asking:
        told.next()
        it.running.stand_still(500)
        it.running.let_pass(3.25)
        one = begin(second)
        it.running.let_pass(2)
        finish(one, second, good_events(TEACHER))
        got = asking.answer()
    told.end()
    assert (got.text, got.said) == (text_of(TEACHER), ("teacher", "fallback:first_token_timeout"))


# Whatever fails within the gateway.


def fails(*_: Any, **__: Any) -> None:
    raise RuntimeError("planted")


@pytest.mark.parametrize("stream", [False, True])
def test_an_exception_in_the_end_of_a_request_closes_its_connection(
    world: Make, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """The record cannot be written: an answer without one must not look like a success, and silence is worse."""
    it = world()
    monkeypatch.setattr(it.running.log, "append", fails)
    with it.asking(stream=stream) as asking:
        if stream:
            assert not asking.answer().whole
        else:
            assert asking.closed()
    assert it.running.shared.in_flight == 0


def test_an_exception_while_a_failure_is_told_closes_the_connection(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = world()
    monkeypatch.setattr(it.running.shared.metrics, "add", fails)
    with it.asking(messages=[]) as asking:
        assert asking.closed()


def test_who_is_forgotten_is_swept_up_at_last(world: Make) -> None:
    """A call that no sweep sees any more ends never, and would hold its client and a drain for ever."""
    told = Told()
    it = world(teacher=told, timeouts=Timeouts(total_s=20))
    with it.asking(stream=False) as asking:
        told.next()
        it.running.shared.fleet.calls.clear()
        it.running.let_pass(20 + OPEN_MARGIN_S - 1)
        assert not asking.ended
        it.running.let_pass(3)
        assert asking.closed()
    told.end()
    until(lambda: it.running.shared.in_flight == 0, "the request has ended")
    assert json.dumps(it.record()["error"]) == '"client_gone"'
