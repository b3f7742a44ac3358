"""The log of a real gateway: what is counted is what is there, sampling, a disk that is full, and room again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from graduand.gateway.logs.query import Log
from graduand.gateway.logs.reading import Source
from tests.gateway.conftest import Start
from tests.gateway.running import Gateway, route, until
from tests.gateway.speaking import chat
from tests.gateway.upstream import Upstream

DISK_BYTES = 24 << 20


def query(gateway: Gateway, sql: str) -> list[tuple[object, ...]]:
    with Log(Source.of(str(gateway.folder / "logs"))) as log:
        return list(log.query(sql).fetchall())


def test_totals_are_the_logs(start: Start, upstream: Upstream) -> None:
    """By route, arm and outcome, tokens, copies and redactions, half of it shipped; unsampled requests are counted, too."""
    place = upstream.place("counted")
    gateway = start(
        {"u": {"kind": "vllm", "base_urls": [place.url]}},
        {"all": route("u", "u", mode="shadow"), "some": route("u", record_sample=30)},
        record={"seal_s": 0.5, "redact": ["email"]}, workers=2,
    )  # fmt: skip
    with gateway.client() as client:
        for number in range(120):
            name = "all" if number % 3 else "some"
            body = chat(name, f"ann{number}@example.com", stream=number % 2 == 0)
            assert client.ask(body if number % 10 else chat("nothing", "x")).status in (200, 404)
            if number == 60:
                until(lambda: any(gateway.folder.glob("logs/dt=*/*/*/*.parquet")), "something is shipped")
    written = "SELECT count(*) FROM log"
    copies = f"{written} WHERE role = 'shadow'"
    until(
        lambda: gateway.total("graduand_shadow_requests_total") == query(gateway, copies)[0][0], "the copies are there"
    )
    until(
        lambda: gateway.total("graduand_log_records_total", "written") == query(gateway, written)[0][0],
        "all is there",
    )
    counted = {
        labels: value
        for (name, labels), value in gateway.metrics().items()
        if name == "graduand_requests_total" and value
    }
    outcome = "CASE WHEN completed THEN 'ok' ELSE 'refused' END"
    rows = query(gateway, f"SELECT route, arm, {outcome} AS o, count(*) FROM log WHERE role = 'served' GROUP BY ALL")
    assert {frozenset(labels): value for labels, value in counted.items()} == {
        frozenset(row[:3]): row[3] for row in rows
    }
    assert sum(counted.values()) == 120
    [(prompt, completion)] = query(
        gateway,
        "SELECT sum(usage.prompt_tokens), sum(usage.completion_tokens) FROM log WHERE role = 'served' AND completed",
    )
    assert gateway.total("graduand_input_tokens_total") == prompt
    assert gateway.total("graduand_output_tokens_total") == completion
    spans = "SELECT sum(list_sum(list_transform(redaction.spans, lambda s: s.count))) FROM log"
    assert gateway.total("graduand_redactions_total") == query(gateway, spans)[0][0] > 0
    assert query(gateway, "SELECT DISTINCT sampling_prob FROM log WHERE route = 'some'") == [(0.3,)]
    [(kept, dropped)] = query(
        gateway, "SELECT count(request_json), count(*) - count(request_json) FROM log WHERE route = 'some'"
    )
    assert kept > 0
    assert dropped > kept
    assert query(gateway, "SELECT count(*) FROM log WHERE contains(request_json, '@example.com')") == [(0,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True) if os.geteuid() == 0 else None
    if done is None or done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {'not root' if done is None else done.stderr}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass
        try:
            while True:
                file.write(b"x" * 16)
        except OSError:
            return ballast


@pytest.mark.parametrize("on_full", ["block", pytest.param("drop", marks=pytest.mark.slow)])
def test_a_full_disk(start: Start, upstream: Upstream, small_disk: Path, on_full: str) -> None:
    """`block` refuses new requests and records what it has answered; `drop` answers on, and nothing waits for the disk.
    Either way it goes on by itself when there is room, and every acknowledged record lands once."""
    place = upstream.place(f"full-{on_full}")
    gateway = start(
        {"u": {"kind": "openai", "base_urls": [place.url]}}, {"tickets": route("u")},
        logs=f"file://{small_disk}/logs", record={"seal_s": 0.5, "on_full": on_full},
    )  # fmt: skip
    answered, refused = [], 0

    def ask(count: int) -> None:
        nonlocal refused
        for _ in range(count):
            got = client.ask(chat("tickets", "x" * 1000))
            if got.status == 200:
                answered.append(got.headers["x-graduand-id"])
            else:
                assert (got.status, got.error["code"]) == (503, "log_full")
                assert got.headers["retry-after"] == "5"
                refused += 1

    with gateway.client() as client:
        ask(20)
        until(lambda: any(small_disk.glob("logs/dt=*/*/*/*.parquet")), "something is shipped")
        ballast = fill(small_disk)
        ask(1)
        until(lambda: "cannot be written" in gateway.errors, "the disk is found full")
        until(lambda: gateway.total("graduand_log_pending_bytes") > 0, "it waits for room")
        ask(50)
        assert bool(refused) == (on_full == "block")
        assert gateway.total("graduand_rejected_requests_total", "log_full") == refused
        ballast.unlink()
        until(lambda: gateway.total("graduand_log_pending_bytes") == 0, "what waited is written")
        before = refused
        ask(20)
        assert refused == before
    source = Source.of(str(small_disk / "logs"))

    def landed() -> list[object]:
        with Log(source) as log:
            return [number for (number,) in log.query("SELECT id FROM log").fetchall()]

    until(lambda: len(landed()) >= len(answered), "all is there")
    assert sorted(map(str, landed())) == sorted(answered)
    assert gateway.total("graduand_log_records_total", "lost") == 0
    assert "cannot be written" in gateway.errors
    assert gateway.errors.count("cannot be written") < 5
    gateway.stop()
