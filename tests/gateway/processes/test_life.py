"""The whole gateway over its life: shares, changes at run time, workers that die, reload, drain - and the log and the
metrics that must tell the same story."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import Start
from tests.gateway.driving import Driver, Got, requests_of, traffic
from tests.gateway.running import ROOT, Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import Answer, chat
from tests.gateway.upstream import Conversation, Place, Upstream, answer, chunk, text_of, tokens

USERS = [f"user-{number}" for number in range(2000)]
STUDENT = "small@3f9c1a0b22de"


@pytest.fixture
def student() -> Iterator[Upstream]:
    """An upstream of its own, to be stopped and started."""
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def two_workers(start: Start, upstream: Upstream) -> Gateway:
    upstreams = {"t": configured(upstream.place("t").url), "s": configured(upstream.place("s").url)}
    routes = {
        "triage": route("t", "s", mode="canary", weight=10, unit="user", shadow_sample=0),
        "other": route("t", "s", mode="teacher"),
        "shadowed": route("t", "s", mode="shadow"),
    }
    return start(upstreams, routes, workers=2)


def agree(gateway: Gateway, ids: list[str]) -> None:
    """Every request is in the log exactly once, and the metrics count the same."""
    until(lambda: len(served(gateway)) >= len(ids), "the log is written")
    logged = [record["id"] for record in served(gateway)]
    assert sorted(logged) == sorted(ids)
    by_arm = Counter((record["route"], record["arm"]) for record in served(gateway))
    for (name, arm), count in by_arm.items():
        assert gateway.total("graduand_requests_total", name, arm) == count  # counted before it was logged
    records = len(gateway.records())
    until(lambda: gateway.total("graduand_log_records_total", "written") == records, "records are counted")


def served(gateway: Gateway) -> list[dict[str, str]]:
    return [record for record in gateway.records() if record["role"] == "served"]


def test_shares_stickiness_log_and_metrics(two_workers: Gateway) -> None:
    gateway, driver = two_workers, Driver(two_workers)
    driver.run(requests_of(USERS * 5, "triage"), connections=12)
    assert {one.status for one in driver.got} == {200}
    arms = {user: {one.arm for one in driver.got if one.user == user} for user in USERS}
    assert all(len(one) == 1 for one in arms.values())  # over both workers
    at_ten = {user for user in USERS if arms[user] == {"student"}}
    assert len(at_ten) / len(USERS) == pytest.approx(0.10, abs=0.015)
    assert gateway.change("triage", weight=20).json()["weight"] == 20
    gateway.settled()
    first = len(driver.got)
    driver.run(requests_of(USERS, "triage"), connections=12)
    at_twenty = {one.user for one in driver.got[first:] if one.arm == "student"}
    assert at_ten <= at_twenty
    assert len(at_twenty) / len(USERS) == pytest.approx(0.20, abs=0.02)
    assert len(driver.got) == 12_000
    agree(gateway, [one.number for one in driver.got])
    files = [path.name for path in (gateway.folder / "logs" / "segments").iterdir() if path.stat().st_size > 100_000]
    assert {name.split("-")[1] for name in files} == {"w0", "w1"}


def test_a_change_is_served_by_every_worker_within_a_second(two_workers: Gateway) -> None:
    """One of a few changes must come in time; during the others a worker may have been given no time itself."""
    with traffic(two_workers, "other", connections=16) as driver:
        both_serve(two_workers)
        assert {one.reason for one in list(driver.got)} == {"teacher"}
        modes = ("student", "teacher") * 3
        assert any(served_in_time(two_workers, driver, mode) for mode in modes)
    assert {one.status for one in driver.got} == {200}
    assert not driver.cut


def served_in_time(gateway: Gateway, driver: Driver, mode: str) -> bool:
    """Change the mode; whether everything that was asked a second later was served by it, by every worker."""
    assert gateway.change("other", mode=mode).status_code == 200
    due_at = time.monotonic() + 1
    until(lambda: driver.got[-1].sent_at > due_at, "the second is over")
    both_serve(gateway)
    gateway.settled()
    settled_at = time.monotonic()
    until(lambda: driver.got[-1].sent_at > settled_at, "somebody asks after that")
    got = list(driver.got)
    assert {one.reason for one in got if one.sent_at > settled_at} == {mode}  # by then there is no excuse
    return {one.reason for one in got if one.sent_at > due_at} == {mode}


def both_serve(gateway: Gateway) -> None:
    """Wait until each of two workers has written a record of something that it served from now on."""
    folder = gateway.folder / "logs" / "segments"

    before = {path: path.stat().st_size for path in folder.iterdir()}

    def grown() -> set[str]:
        return {path.name.split("-")[1] for path in folder.iterdir() if path.stat().st_size > before.get(path, 0)}

    until(lambda: grown() >= {"w0", "w1"}, "both workers serve")


def test_stale_and_wrong_changes_change_nothing(two_workers: Gateway) -> None:
    version = two_workers.admin.get("/v1/routes/shadowed").json()["version"]
    refused = [
        ({"weight": 5, "version": version + 1}, 409), ({"weight": 101}, 400), ({"weight": 0.001}, 400), ({}, 400),
        ({"mode": "canari"}, 400), ({"wieght": 5}, 422), ({"weight": "many"}, 422), ({"adapter": "../../etc"}, 400),
    ]  # fmt: skip
    for change, status in refused:
        got = two_workers.change("shadowed", **change)  # type: ignore[arg-type]
        assert got.status_code == status, (change, got.text)
        assert got.json()["error"]["message"]
    for number in ("NaN", "Infinity", "-Infinity", "1e400"):
        got = two_workers.admin.patch(
            "/v1/routes/shadowed", content=f'{{"weight": {number}}}', headers={"content-type": "application/json"}
        )
        assert got.status_code in (400, 422), (number, got.text)
    assert two_workers.change("shadwed", weight=5).status_code == 404
    assert two_workers.admin.get("/v1/routes/shadowed").json()["version"] == version


def test_shadow_answers_are_paired_with_what_was_served(two_workers: Gateway, upstream: Upstream) -> None:
    # A copy is retried as what is served is, or only the copy would have such failures.
    upstream.places["s"].script = [answer, *[lambda one: one.whole(500, b"")] * 3]
    ids: list[str] = []

    def about() -> list[dict[str, Any]]:
        return [one for one in two_workers.records() if one["id"] in ids or one["parent_id"] in ids]

    with two_workers.client() as client:
        for stream in (True, False):
            got = client.ask(chat("shadowed", stream=stream))
            assert (got.text, got.headers["x-graduand-arm"]) == (text_of("gpt-4o"), "teacher")
            ids.append(got.headers["x-graduand-id"])
            until(lambda: len(about()) == 2 * len(ids), "both are logged")
    records = about()
    shadows = {record["parent_id"]: record for record in records if record["role"] == "shadow"}
    assert list(shadows) == ids
    assert [record["error"] for record in shadows.values()] == [None, "http_500"]
    assert shadows[ids[0]]["served_model"] == STUDENT + "-2024-08-06"
    assert shadows[ids[0]]["prompt_sha256"] == next(one for one in records if one["id"] == ids[0])["prompt_sha256"]
    assert len({record["id"] for record in records}) == 4
    until(lambda: two_workers.total("graduand_shadow_requests_total", "shadowed", "ok") == 1, "it is counted")


def test_a_worker_killed_under_load_is_replaced(two_workers: Gateway) -> None:
    """What may be lost: the requests under way on it. What was answered is recovered from its journal."""
    gateway, before = two_workers, {record["id"] for record in two_workers.records()}
    counted = gateway.total("graduand_requests_total", "triage")
    old = gateway.worker_ids()
    with traffic(gateway, "triage", connections=16) as driver:
        both_serve(gateway)
        os.kill(old[0], signal.SIGKILL)
        until(lambda: len(set(gateway.worker_ids()) - {old[0]}) == 2, "a new worker is started")
        [new] = set(gateway.worker_ids()) - set(old)
        segments = gateway.folder / "logs" / "segments"
        until(lambda: any(path.stat().st_size for path in segments.glob(f"*-w?-{new}-*")), "it serves")
    assert {one.status for one in driver.got} == {200}
    assert len(driver.cut) <= 16

    def lost() -> list[Got]:
        logged = {record["id"] for record in gateway.records()}
        return [one for one in driver.got if one.whole and one.number not in logged]

    with contextlib.suppress(AssertionError):
        until(lambda: not lost(), "what was answered is logged")
    assert not lost(), (lost(), gateway.errors)
    logged = [record["id"] for record in gateway.records() if record["id"] not in before]
    assert len(logged) == len(set(logged))
    print(f"{len(driver.got)} answered and logged, {len(driver.cut)} requests cut")
    grown = gateway.total("graduand_requests_total", "triage") - counted
    assert grown >= len(driver.got) - 1  # the count survives its process; one may be answered and not yet counted
    assert grown <= len(driver.got) + len(driver.cut)
    records = len(gateway.records())
    until(lambda: gateway.total("graduand_log_records_total", "written") <= records, "counts are not set back")
    assert gateway.total("graduand_log_records_total", "written") >= records - 1000


def test_the_admin_plane_and_the_controller_die_and_nobody_notices(two_workers: Gateway) -> None:
    [admin] = two_workers.process_ids("graduand.gateway.processes.admin")
    [controller] = two_workers.process_ids("graduand.gateway.processes.control")
    with traffic(two_workers, "other", connections=4) as driver:
        os.kill(admin, signal.SIGKILL)
        os.kill(controller, signal.SIGKILL)
        until(lambda: _alive(two_workers), "the admin plane is back")
    assert {one.status for one in driver.got} == {200}
    assert not driver.cut


def _alive(gateway: Gateway) -> bool:
    with contextlib.suppress(Exception):
        return gateway.admin.get("/healthz", timeout=5).status_code == 200
    return False


def test_the_student_is_killed_in_the_middle_of_a_canary(start: Start, upstream: Upstream, student: Upstream) -> None:
    upstreams = {"t": configured(upstream.place("kt").url), "s": configured(student.place("ks").url)}
    gateway = start(upstreams, {"triage": route("t", "s", mode="canary", weight=50, unit="user")})
    with traffic(gateway, "triage", connections=6) as driver:
        until(lambda: any(one.reason == "canary" for one in driver.got), "the student is asked")
        student.stop()
        stopped_at = time.monotonic()
        until(lambda: seen(driver, stopped_at)["fallback:unavailable"] > 20, "the teacher stands in for it")
        started_at = time.monotonic()
        student.start()
        until(lambda: seen(driver, started_at)["canary"], "it is used again")
        back_at = time.monotonic()
        until(lambda: seen(driver, back_at)["canary"] > 20, "it is used as before")
    assert {one.status for one in driver.got} == {200}
    assert all(one.whole for one in driver.got)
    assert not driver.cut
    down = Counter(one.reason for one in driver.got if stopped_at < one.sent_at and one.ended_at < started_at)
    assert down["canary"] == 0
    assert not any(reason.startswith("fallback:") for reason in seen(driver, back_at))
    # Whoever was the student's stayed so in the log, whoever answered.
    fallbacks = [record for record in gateway.records() if record["reason"].startswith("fallback:")]
    assert fallbacks
    assert {(record["assigned_arm"], record["arm"]) for record in fallbacks} == {("student", "teacher")}
    agree(gateway, [one.number for one in driver.got])


def seen(driver: Driver, since: float) -> Counter[str]:
    """By reason, the answers to what was asked after a moment."""
    return Counter(one.reason for one in list(driver.got) if one.sent_at > since)


def test_limits_are_exact_over_workers(start: Start, upstream: Upstream) -> None:
    gateway = start(
        {"t": configured(upstream.place("limited").url)}, {"triage": route("t")}, workers=2,
        client_keys={"env": "KEYS"}, client_limits={"requests_per_minute": 60}, environ={"KEYS": "one,two"},
    )  # fmt: skip
    statuses: list[tuple[int, str | None]] = []

    def ask(key: str) -> None:
        for _ in range(10):
            with gateway.client() as client:  # a connection each: spread over the workers
                got = client.ask(chat("triage"), headers=(f"authorization: Bearer {key}",))
            statuses.append((got.status, got.headers.get("retry-after")))

    threads = [threading.Thread(target=ask, args=("one",)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(status for status, _ in statuses) == {200: 60, 429: 40}
    assert all(wait is None if status == 200 else 1 <= int(wait or 0) <= 60 for status, wait in statuses)
    with gateway.client() as client:
        assert client.ask(chat("triage"), headers=("authorization: Bearer two",)).status == 200
        listed = client.get("/v1/models", headers=("authorization: Bearer one",))
        assert listed.status == 200  # to look is no use of a model
        assert client.get("/v1/models", headers=("authorization: Bearer three",)).status == 401
    names = {path.name.split("-")[1] for path in (gateway.folder / "logs" / "segments").iterdir()}
    assert names == {"w0", "w1"}


def test_reload(start: Start, upstream: Upstream) -> None:
    gateway = start(
        {"t": configured(upstream.place("reload-t").url)}, {"triage": route("t"), "gone": route("t")}, workers=2
    )
    with traffic(gateway, "triage", connections=8) as driver:
        settings = gateway.settings
        settings["upstreams"]["new"] = configured(upstream.place("reload-new").url)
        settings["routes"]["added"] = route("new")
        del settings["routes"]["gone"]
        gateway.write_settings()
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: _status(gateway, "added") == 200 and _status(gateway, "gone") == 404, "the file is reloaded")
        until(lambda: {_status(gateway, "added") for _ in range(20)} == {200}, "on every worker")
        assert {_status(gateway, "gone") for _ in range(20)} == {404}
        gateway.file.write_text("routes: {}")
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: "the old one stays in force" in gateway.errors, "the broken file is refused")
        settings["workers"] = 3
        gateway.write_settings()
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: "a change of workers needs a restart" in gateway.errors, "what cannot be reloaded is said")
        assert _status(gateway, "added") == 200
        assert {one["name"] for one in gateway.admin.get("/v1/routes").json()["routes"]} == {"triage", "added"}
    assert {one.status for one in driver.got} == {200}
    assert not driver.cut


def test_a_clients_key_is_replaced(start: Start, upstream: Upstream, tmp_path: Path) -> None:
    """Without a restart: the old key is refused also on a connection that has shown it, the name in the log stays, and limits
    follow the keys though their places change."""
    file = tmp_path / "keys"
    file.write_text("triage: k-old\nbilling: k-billing\n")
    gateway = start(
        {"t": configured(upstream.place("rotated").url)}, {"triage": route("t")}, workers=2,
        client_keys={"file": str(file)}, client_limits={"requests_per_minute": 30},
    )  # fmt: skip

    def ask(key: str) -> Answer:
        with gateway.client() as client:  # a connection each: on either worker
            return client.ask(chat("triage"), headers=(f"authorization: Bearer {key}",))

    def logged(*answers: Answer) -> list[tuple[int, str | None]]:
        found = [gateway.record(one.headers["x-graduand-id"]) for one in answers]
        return [(record["client"], record["client_key"]) for record in found]

    before = [ask("k-old"), *[ask("k-billing") for _ in range(29)]]
    with gateway.client() as kept:
        assert kept.ask(chat("triage"), headers=("authorization: Bearer k-old",)).status == 200
        file.write_text("first: k-first\nbilling: k-billing\ntriage: k-new\n")
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: ask("k-new").status == 200 and {ask("k-old").status for _ in range(8)} == {401}, "it is replaced")
        assert kept.ask(chat("triage"), headers=("authorization: Bearer k-old",)).status == 401
        assert kept.ask(chat("triage"), headers=("authorization: Bearer k-new",)).status == 200
    after, billing, spent, refused = ask("k-new"), ask("k-billing"), ask("k-billing"), ask("k-old")
    assert [one.status for one in (after, billing, spent, refused)] == [200, 200, 429, 401]
    assert logged(*before[:2]) == [(0, "triage"), (1, "billing")]
    assert logged(after, billing, spent, refused) == [(2, "triage"), (1, "billing"), (1, "billing"), (-1, None)]


def test_reloads_leave_nothing_behind(start: Start, upstream: Upstream) -> None:
    """Neither the limits' file nor a connection of an upstream that was replaced while it was answering."""
    held = threading.Semaphore(0)

    def when_told(one: Conversation) -> None:
        if b"at once" not in one.seen.body:
            held.acquire(timeout=60)
        answer(one)

    places = [upstream.place(f"replaced{number}", when_told) for number in range(2)]
    headers = ("authorization: Bearer one",)
    gateway = start(
        {"t": configured(places[0].url)}, {"triage": route("t")}, client_keys={"env": "KEYS"},
        client_limits={"requests_per_minute": 1000}, environ={"KEYS": "one"},
    )  # fmt: skip
    [worker] = gateway.worker_ids()

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{worker}/fd"))

    def moved(place: Place) -> bool:
        before = place.asked
        with gateway.client() as client:
            assert client.ask(chat("triage", "at once"), headers=headers).status == 200
        return place.asked > before

    def reload(number: int) -> None:
        for place in places:
            place.forget()
        with gateway.client() as client:
            client.post(chat("triage"), headers=headers)
            until(lambda: places[number % 2].asked, "the upstream is asked")
            gateway.settings["upstreams"]["t"] = configured(places[(number + 1) % 2].url)
            gateway.write_settings()
            said = gateway.errors.count("was reloaded")
            gateway.process.send_signal(signal.SIGHUP)
            until(lambda: gateway.errors.count("was reloaded") > said, "the file is reloaded")
            until(lambda: moved(places[(number + 1) % 2]), "the worker has taken it over")
            held.release()
            assert client.read().status == 200

    reload(0)
    reload(1)
    before = descriptors()
    for number in range(4):
        reload(number)
    until(lambda: descriptors() <= before, f"what was replaced is closed: {descriptors()} > {before}")


def _status(gateway: Gateway, model: str) -> int:
    with gateway.client() as client:
        return client.ask(chat(model)).status


def test_a_drain_loses_nothing(start: Start, upstream: Upstream) -> None:
    """SIGTERM under load: what was asked is answered, streams end well, the log is whole, then the ports are closed."""
    goes_on = threading.Event()

    def slow(one: Conversation) -> None:
        model = one.seen.data["model"]
        if not one.streams:
            goes_on.wait(60)
            answer(one)
            return
        one.start_stream()
        one.events(tokens(model)[:3])
        goes_on.wait(60)
        one.events([*tokens(model)[3:], chunk(model, finish="stop"), "[DONE]"])
        one.end_stream()

    place = upstream.place("slow", slow)
    gateway = start(
        {"t": configured(upstream.place("drain").url), "slow": configured(place.url)},
        {"triage": route("t"), "slow": route("slow")}, workers=2,
    )  # fmt: skip
    idle = gateway.client()
    assert idle.get("/healthz").status == 200
    clients = [gateway.client() for _ in range(6)]
    for number, client in enumerate(clients):
        client.post(chat("slow", stream=number % 2 == 0))
    until(lambda: place.asked == 6, "the slow ones are under way")
    with traffic(gateway, "triage", connections=16) as driver:
        both_serve(gateway)
        gateway.process.send_signal(signal.SIGTERM)
        # Nobody is kept waiting on a port that nobody serves, although answers are still under way.
        until(lambda: driver.refused, "connections are refused")
        assert gateway.process.poll() is None
        goes_on.set()
        answers = [client.read() for client in clients]
        code = gateway.process.wait(60)
    assert code == 0
    assert all(got.whole and got.text == text_of("gpt-4o") for got in answers)
    assert {one.status for one in driver.got} == {200}
    assert not driver.cut, driver.cut
    assert idle.closed()
    ids = [one.number for one in driver.got] + [got.headers["x-graduand-id"] for got in answers]
    logged = [record["id"] for record in gateway.records()]
    assert sorted(logged) == sorted(ids)


def test_a_drain_serves_those_who_wait_to_be_accepted(start: Start, upstream: Upstream) -> None:
    gateway = start({"t": configured(upstream.place("queued").url)}, {"triage": route("t")})
    [worker] = gateway.worker_ids()
    os.kill(worker, signal.SIGSTOP)
    clients = [gateway.client() for _ in range(50)]
    for client in clients:
        client.post(chat("triage"))
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: _pending(worker) >> signal.SIGTERM - 1 & 1, "it is told to end")
    os.kill(worker, signal.SIGCONT)
    assert [client.read().status for client in clients] == [200] * 50
    assert gateway.process.wait(60) == 0


def _pending(process: int) -> int:
    """The signals that wait for a process, a bit each (proc(5): ShdPnd)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(dict(line.split(":\t") for line in lines if ":\t" in line)["ShdPnd"], 16)


def test_a_worker_that_is_starting_drains_as_well(start: Start, upstream: Upstream) -> None:
    """SIGTERM meets a worker that has yet to load its own code, with clients waiting on its socket."""
    gateway = start({"t": configured(upstream.place("starting").url)}, {"triage": route("t")})
    [worker] = gateway.worker_ids()
    os.kill(worker, signal.SIGSTOP)
    clients = [gateway.client() for _ in range(20)]
    for client in clients:
        client.post(chat("triage"))
    os.kill(worker, signal.SIGKILL)
    until(lambda: set(gateway.worker_ids()) - {worker}, "another worker is started")
    gateway.process.send_signal(signal.SIGTERM)
    assert [client.read().status for client in clients] == [200] * 20
    assert gateway.process.wait(60) == 0
    assert "Traceback" not in gateway.errors


@pytest.mark.slow
def test_a_monitor_that_gets_no_time_does_not_hold_the_end_up(start: Start, upstream: Upstream) -> None:
    """It gives way to everybody, so on a busy machine it may never hear SIGTERM; workers may take `total_s`, it may not."""
    gateway = start({"t": configured(upstream.place("starved").url)}, {"triage": route("t")})
    [monitor] = gateway.process_ids("graduand.gateway.processes.monitor")
    os.kill(monitor, signal.SIGSTOP)
    assert gateway.stop(within_s=40) == 0
    assert not _running(str(monitor))


def test_a_gateway_that_is_told_to_end_while_it_starts_ends_in_order(tmp_path: Path) -> None:
    pipe, left = tmp_path / "gateway.yaml", tmp_path / "left"
    os.mkfifo(pipe)
    left.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "graduand", "serve", "--config", str(pipe)], cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(left)},
    )  # fmt: skip
    with pipe.open("w") as writing:  # opens when the supervisor has begun to read
        process.send_signal(signal.SIGTERM)
        writing.write(
            f"{{listen: '127.0.0.1:0', admin: '127.0.0.1:0', state: 'sqlite:///{tmp_path}/state.db', "
            f"logs: 'file:///{tmp_path}/logs', upstreams: {{t: {{kind: openai, base_urls: ['http://127.0.0.1:9/v1']}}}}, "
            "routes: {triage: {teacher: {upstream: t, model: m}}}}"
        )
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert not list(left.iterdir())


def test_the_supervisor_is_killed_and_leaves_nothing_behind(start: Start, upstream: Upstream) -> None:
    gateway = start({"t": configured(upstream.place("orphans").url)}, {"triage": route("t")}, workers=2)
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    gateway.process.kill()
    # Some are still starting, and give way to everybody.
    until(lambda: not any(_running(child) for child in children), "the other processes end")


def _running(number: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("routes: {}", 2, "not a valid configuration"),
        ("upstreams: {t: {kind: openai, base_urls: ['http://h/v1'], api_key: {env: NOT_THERE}}}\n"
         "routes: {r: {teacher: {upstream: t, model: m}}}", 2, "NOT_THERE is not set"),
        ("listen: {listen}\nupstreams: {t: {kind: openai, base_urls: ['http://h/v1']}}\n"
         "routes: {r: {teacher: {upstream: t, model: m}}}", 1, "Address already in use"),
    ],
)  # fmt: skip
def test_a_start_that_fails_says_why(tmp_path: Path, text: str, code: int, says: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "x.yaml").write_text(text.replace("{listen}", f"127.0.0.1:{taken.getsockname()[1]}"))
        done = subprocess.run(
            [sys.executable, "-m", "graduand", "serve", "--config", str(tmp_path / "x.yaml")], cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
