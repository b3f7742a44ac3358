"""The memory proof: a million mixed requests through a real gateway, and its worker's memory meanwhile.

`python -m benchmarks.soak [--requests N] [--results FOLDER]` starts the gateway with everything on (client key and
limits, request log, metrics, sticky canary, shadow copies) and an upstream, lets `mixture` loose on it, looks at the
worker every second, and after the load sees whether everything was given back. Writes soak.json, soak.md and soak.png;
exits with 1 if a target is missed. It deletes the request log's segments as it goes, so it needs little disk.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import uvloop
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import mixture, resident, soak_report
from benchmarks.environments import ROOT, Unavailable
from benchmarks.fleet import READY_TIMEOUT_S, probe
from benchmarks.machine import machine
from benchmarks.mixture import CUT_STREAM, CUT_WAITING, STREAMED, UNKNOWN, WHOLE, Mixture
from benchmarks.peers import Place, graduand
from benchmarks.process import Server, free_port
from benchmarks.soak_report import Check, Soak
from graduand.gateway.errors import GraduandError

CLIENTS = 64
SHADOW_PERCENT = 10
# Never reached, but counted: limits are a part of "everything on".
LIMITS = "client_limits: {requests_per_minute: 100000000, tokens_per_minute: 100000000000}\n"
EVERY_S = 1.0
SAY_EVERY_S = 10.0
STUCK_AFTER_S = 60.0
SETTLE_S = 15.0
# Longer than the gateway keeps an idle connection: afterwards only what it has lost hold of would still be open.
REST_S = 80.0
MAX_SERIES = 500
# The gauges that show whether something is under way.
BUSY = ("in flight requests", "shadow queue", "log pending bytes")


@dataclass(slots=True)
class Gateway:
    """The running gateway."""

    server: Server
    port: int
    admin_port: int
    upstream_port: int
    folder: Path
    worker: int
    pruned: int = field(default=0)

    @classmethod
    def start(cls, folder: Path, stack: ExitStack) -> "Gateway":
        place = Place(free_port(), free_port(), free_port(), folder)
        command = [sys.executable, "-m", "benchmarks.upstream", str(place.upstream_port)]
        upstream = Server.start(command, core=None, log=folder / "upstream.log", env={"PYTHONPATH": str(ROOT)})
        stack.callback(upstream.stop)
        _await(upstream, place.upstream_port)
        env = graduand(place, shadow=SHADOW_PERCENT).env
        config = folder / "graduand.yaml"
        config.write_text(config.read_text() + LIMITS)
        command = [sys.executable, "-m", "graduand", "serve", "--config", str(config)]
        server = Server.start(command, core=None, log=folder / "gateway.log", env=env)
        stack.callback(server.stop)
        _await(server, place.port)
        worker = server.descendant("graduand.gateway.processes.worker")
        if worker is None:
            raise Unavailable("the gateway's worker cannot be found")
        return cls(server, place.port, place.second_port, place.upstream_port, folder, worker)

    def prune(self) -> None:
        """Delete the log's segments but the one that is being written."""
        for segment in sorted((self.folder / "logs" / "segments").glob("*.jsonl"))[:-1]:
            segment.unlink(missing_ok=True)  # it may have been shipped
            self.pruned += 1

    def counted(self) -> Counter[tuple[str, str]]:
        """The gateway's metrics, summed by name and outcome; under ("series", "") how many series there are."""
        with urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        totals: Counter[tuple[str, str]] = Counter()
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                totals[one.name, one.labels.get("outcome", "")] += round(one.value)
                totals["series", ""] += "le" not in one.labels
        return totals

    def connections(self) -> tuple[int, int]:
        """How many connections the worker has with clients and with the upstream."""
        pairs = resident.connections(self.worker)
        clients = sum(local == self.port for local, _ in pairs)
        return clients, sum(remote == self.upstream_port for _, remote in pairs)


def _await(server: Server, port: int) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while (problem := probe(port)) is not None:
        if ended := server.ended():
            raise Unavailable(ended)
        if time.monotonic() > deadline:
            raise Unavailable(f"was not ready after {READY_TIMEOUT_S:g} s: {problem}")
        time.sleep(0.1)


async def load(gateway: Gateway, requests: int) -> Soak:
    """Send all requests; look at the worker every second."""
    mixed = Mixture(gateway.port, requests, CLIENTS)
    soak = Soak(requests, CLIENTS, mixture.USERS, machine(), resident.descriptors(gateway.worker))
    began = moved_at = said_at = time.monotonic()
    last = -1
    mixed.start()
    while True:
        now = time.monotonic()
        soak.samples.append(resident.sample(gateway.worker, now - began, mixed.ended))
        gateway.prune()
        if not soak.series_at_half and mixed.ended >= requests / 2:
            soak.series_at_half = (await asyncio.to_thread(gateway.counted))["series", ""]
        if now - said_at >= SAY_EVERY_S:
            said_at = now
            _say(soak)
        if mixed.ended != last:
            moved_at, last = now, mixed.ended
        if now - moved_at > STUCK_AFTER_S:
            raise Unavailable(f"nothing has moved for {STUCK_AFTER_S:g} s, at request {mixed.ended:,}")
        if mixed.over.is_set():
            break
        try:
            async with asyncio.timeout(EVERY_S):
                await mixed.over.wait()
        except TimeoutError:
            pass
    soak.seconds = time.monotonic() - began
    soak.sent, soak.wrong, soak.connections = dict(mixed.sent), dict(mixed.wrong), mixed.connections
    return soak


def _say(soak: Soak) -> None:
    one = soak.samples[-1]
    print(
        f"{one.at_s:5.0f} s  {one.requests:9,} requests  {one.total_mb:6.1f} MB resident"
        f" ({one.anonymous_mb:.1f} anonymous)  {one.descriptors} descriptors",
        flush=True,
    )


def settled(gateway: Gateway) -> tuple[Counter[tuple[str, str]], int, int]:
    """The metrics and the connections (clients', upstream's) once nothing changes any more, at the latest after a while."""
    deadline = time.monotonic() + SETTLE_S
    last = gateway.counted()
    while True:
        time.sleep(0.5)  # longer than the worker takes to bring its gauges up to date
        now = gateway.counted()
        clients, kept = gateway.connections()
        if (now == last and not clients) or time.monotonic() > deadline:
            return now, clients, kept
        last = now


def check(gateway: Gateway, soak: Soak, before: Counter[tuple[str, str]]) -> None:
    """See whether everything has been counted, and given back."""
    now, clients, kept = settled(gateway)
    print("the load is over; waiting for the gateway to close what it keeps idle", flush=True)
    deadline = time.monotonic() + REST_S
    while (left := gateway.connections()[1]) and time.monotonic() < deadline:
        time.sleep(1)
    rested = soak.rested = resident.sample(gateway.worker, 0.0, soak.requests)
    soak.pruned = gateway.pruned
    peak = max(one.descriptors for one in soak.samples)
    busy = {name: now[f"graduand_{name.replace(' ', '_')}", ""] for name in BUSY}
    soak.checks = [
        *counts(soak, now, before),
        Check("nothing under way", _told(busy), not any(busy.values())),
        Check("no connection to a client", f"{clients}", clients == 0),
        Check(
            "no connection to the upstream but the pool's, which closes idle ones after a minute",
            f"{kept} after the load, {left} after the rest",
            left == 0,
        ),
        Check(
            "no more file descriptors than before",
            f"{soak.descriptors_before} before, at most {peak} under load, {rested.descriptors} after the rest",
            rested.descriptors <= soak.descriptors_before,
        ),
        Check(
            f"at most {MAX_SERIES} series, with {soak.sent[UNKNOWN]:,} unknown models",
            f"{soak.series_at_half} at half, {now['series', '']} at the end",
            now["series", ""] <= MAX_SERIES,
        ),
        Check(
            "the worker never restarted",
            f"process {gateway.worker} all the time",
            gateway.server.descendant("graduand.gateway.processes.worker") == gateway.worker,
        ),
    ]


def counts(soak: Soak, now: Counter[tuple[str, str]], before: Counter[tuple[str, str]]) -> list[Check]:
    """See whether each request was answered rightly, and counted and logged once."""
    since = Counter(now)
    since.subtract(before)
    ended, copied, logged = (
        {outcome: count for (name, outcome), count in since.items() if name == f"graduand_{which}_total" and count}
        for which in ("requests", "shadow_requests", "log_records")
    )
    sent = soak.sent
    wanted = {
        "ok": sent[WHOLE] + sent[STREAMED],
        "cancelled": sent[CUT_STREAM] + sent[CUT_WAITING],
        "refused": sent[UNKNOWN],
    }
    written = logged.pop("written", 0)
    lost = sum(logged.values())
    copies = sum(count for outcome, count in copied.items() if outcome != "dropped")
    return [
        Check("every answer was right", _told(soak.wrong) or "all", not soak.wrong),
        Check("each request counted once, by how it ended", _told(ended), ended == wanted),
        Check(
            "one log record a request and a shadow copy",
            f"{written:,} records for {soak.requests:,} requests and {copies:,} copies; {lost:,} lost",
            written == soak.requests + copies and not lost,
        ),
    ]


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="where the report goes")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="soak-") as name, ExitStack() as stack:
            gateway = Gateway.start(Path(name), stack)
            before = gateway.counted()
            gc.freeze()
            soak = uvloop.run(load(gateway, given.requests))
            check(gateway, soak, before)
    except (GraduandError, OSError) as error:
        print(f"the soak could not be run to its end: {error}", file=sys.stderr)
        return 1
    soak_report.write(soak, given.results)
    print(soak_report.summary(soak))
    return 0 if soak.met else 1


if __name__ == "__main__":
    sys.exit(main())
