"""Run the benchmark: `python -m benchmarks [--quick]`, or `make bench`.

Two phases, since whole answers and streams have different upstreams. In each, every peer is started once; then rounds
of all scenarios and rows are interleaved, so that what else the machine does falls on everybody alike.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks import plot, proof, report
from benchmarks.environments import ROOT, Unavailable, program
from benchmarks.fleet import Fleet
from benchmarks.load import Figures, LoadError
from benchmarks.machine import machine
from benchmarks.peers import DIRECT, NGINX, PEERS, Peer
from benchmarks.process import Server, wait_idle
from benchmarks.results import Results, targets
from benchmarks.scenarios import BODIES, SCENARIOS, Load, Scenario
from graduand.gateway.errors import ConfigError, GraduandError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run: one round, one second each")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=6, help="length of the longest measurement (%(default)s)")
    parser.add_argument("--cores", default="0,1", metavar="GATEWAY,LOAD", help="default: %(default)s")
    parser.add_argument("--only", nargs="+", metavar="PEER", choices=[peer.name for peer in PEERS], default=None)
    parser.add_argument("--scenarios", nargs="+", choices=[one.key for one in SCENARIOS], default=None)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", metavar="FOLDER")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.seconds = 1, 1.0
    if given.rounds < 1 or given.seconds <= 0:
        parser.error("--rounds and --seconds must be more than 0")
    return given


def main() -> int:
    """Measure everything, write the report, and print whether the targets are met."""
    # Either signal unwinds the run as an error does, so that the servers are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    given = arguments()
    began = time.monotonic()
    try:
        gateway_core, load_core = cores(given.cores)
        results = Results(settings=settings(given))
        with tempfile.TemporaryDirectory(prefix="graduand-bench-") as folder:
            Path(folder).chmod(0o755)
            for streamed in (False, True):
                phase(results, given, streamed, Fleet(Path(folder), gateway_core, load_core, streamed))
    except GraduandError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    results.settings["took"] = f"{(time.monotonic() - began) / 60:.1f} minutes"
    report.write(results, given.results)
    plot.write(results, given.results / "bench.png")
    print("\n" + report.target_table(targets(results)))
    print(f"\nwritten: {given.results}/bench.md, bench.json, bench.png ({results.settings['took']})")
    return 0


def cores(text: str) -> tuple[int, int]:
    """The gateway's and the load's core; raise ConfigError if they are not two that we may use."""
    try:
        gateway, load_ = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--cores {text!r} is not two numbers, such as 0,1") from error
    allowed = os.sched_getaffinity(0)
    if gateway == load_ or not {gateway, load_} <= allowed:
        raise ConfigError(f"--cores {text!r} must be two different ones out of {sorted(allowed)}")
    return gateway, load_


def settings(given: argparse.Namespace) -> dict[str, str | float]:
    """What the report says about how it was made."""
    return {
        **machine(),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def phase(results: Results, given: argparse.Namespace, streamed: bool, fleet: Fleet) -> None:
    """Start what the phase needs, measure it round by round, and note everybody's memory."""
    chosen = [one for one in SCENARIOS if one.streamed == streamed and one.key in (given.scenarios or [one.key])]
    if not chosen:
        return
    wanted = {row for scenario in chosen for row in scenario.rows}
    if given.only:
        wanted &= {DIRECT, *given.only}
    for name, make in BODIES.items():
        (fleet.folder / name).write_text(make())
    with fleet:
        print(f"starting {'streams' if streamed else 'whole answers'} …", flush=True)
        fleet.start(peer for peer in PEERS if peer.name in wanted)
        note(results, fleet, PEERS)
        for number in range(given.rounds):
            for scenario in chosen:
                for turn in range(scenario.turns):
                    # There and back again, should one row still have an effect on the next.
                    for row in scenario.rows if (number + turn) % 2 == 0 else reversed(scenario.rows):
                        if row in wanted:
                            measure(results, fleet, scenario, row, number, given)
        results.proof |= proof.of(fleet)
        for row, server in fleet.servers.items():
            results.peak_rss_mb[row] = max(server.peak_rss_mb(), results.peak_rss_mb.get(row, 0.0))


def note(results: Results, fleet: Fleet, peers: Iterable[Peer]) -> None:
    """Keep why peers are missing, and what nginx's version is."""
    results.unavailable |= fleet.unavailable
    for row, reason in fleet.unavailable.items():
        print(f"  {row}: {reason}", flush=True)
    results.versions = {peer.name: peer.version for peer in peers}
    try:
        told = subprocess.run([program("nginx"), "-v"], capture_output=True, text=True, check=False).stderr
        results.versions[NGINX] = told.strip().rpartition("/")[2]
    except Unavailable:
        pass  # the row itself says that nginx is missing


def measure(
    results: Results, fleet: Fleet, scenario: Scenario, row: str, number: int, given: argparse.Namespace
) -> None:
    """One row of one scenario in one round; a failure is kept in the place of figures."""
    server, cell = fleet.servers.get(row), results.cell(scenario.key, row)
    if server is None:
        cell.rounds.append(None)
        return
    figures: Figures | None = None
    try:
        if ended := server.ended():
            raise LoadError(ended)
        wait_idle(fleet.gateway_core)  # what a server still does for its log is not the next one's burden
        figures = measured(fleet, scenario, row, server, given)
        told = f"{figures[scenario.headline]:,.2f} {scenario.unit}"
    except (LoadError, Unavailable) as error:
        cell.failure = told = str(error)
    cell.rounds.append(figures)
    print(f"  round {number + 1}  {scenario.key:7} {row:22} {told}", flush=True)


def measured(fleet: Fleet, scenario: Scenario, row: str, server: Server, given: argparse.Namespace) -> Figures:
    """Warm up, measure, and add what the server's own processor time says."""
    seconds = max(1.0, scenario.share * given.seconds)
    load_ = Load(fleet.ports[row], fleet.load_core, seconds, fleet.folder)
    scenario.warm_up(load_)
    before = server.cpu_s()
    figures = scenario.measure(load_)
    used_s = server.cpu_s() - before
    figures["busy_percent"] = 100 * used_s / figures["seconds"]
    figures["cpu_us"] = 1e6 * used_s / max(1.0, figures["count"])
    return figures


if __name__ == "__main__":
    sys.exit(main())
