"""A real Prometheus beside traffic that never stops: `make observe`, until Ctrl-C or `make observe ARGS='--for 120'`.

By itself it starts a small world (examples/observe/world.py). `--demo` runs the whole of `make demo` under Prometheus
instead, and `--gateway HOST:PORT` only scrapes the admin plane of a gateway that is already running.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import yaml
from rich.console import Console

from examples.demo.servers import DidNotStart, Servers, free_port
from examples.observe.prometheus import NoPrometheus, Prometheus
from examples.observe.world import World

DASHBOARDS = Path(__file__).parents[2] / "monitoring" / "grafana" / "dashboards"
LOOK_AT = {
    "who answers": "sum by (route, arm) (rate(graduand_requests_total[30s]))",
    "agreement and its band": "graduand_agreement or graduand_agreement_lower or graduand_agreement_upper",
    "evidence and what is asked": "graduand_rollout_evidence or graduand_rollout_evidence_threshold",
    "dollars an hour": "graduand_net_saved:dollars_per_hour",
    "errors by cause": "sum by (route, outcome) (rate(graduand_request_errors_total[30s]))",
}
CONFIGURED_WITHIN_S = 120.0
# The demo gives each of its three servers half a minute to end.
ENDED_WITHIN_S = 120.0

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Observe; 0 when it ended as asked."""
    parser = argparse.ArgumentParser(prog="make observe", description=__doc__)
    parser.add_argument("--for", type=float, dest="seconds", metavar="SECONDS", help="end after so long")
    parser.add_argument("--demo", action="store_true", help="run `make demo` under Prometheus")
    parser.add_argument("--gateway", metavar="HOST:PORT", help="scrape the admin plane of a running gateway")
    parser.add_argument(
        "--no-engine", action="store_true", help="leave the embedded engine out: quicker, needs no torch"
    )
    parser.add_argument("--folder", type=Path, default=Path("graduand-data/observe"), help="where its files go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    shutil.rmtree(options.folder, ignore_errors=True)
    folder = options.folder.resolve()
    folder.mkdir(parents=True)
    try:
        if options.gateway:
            _scrape(folder, options.gateway, options.seconds)
        elif options.demo:
            _demo(folder, options.seconds)
        else:
            _world(folder, options.seconds, engine=not options.no_engine)
    except KeyboardInterrupt:
        console.print("\nstopped")
    except (NoPrometheus, DidNotStart) as error:
        console.print(f"[red]{error}[/red]")
        return 1
    return 0


def _world(folder: Path, seconds: float | None, *, engine: bool) -> None:
    with Servers(folder) as servers:
        world = World(folder, servers, engine=engine)
        try:
            world.start(console.print)
            console.print(
                f"gateway {world.base_url}, admin plane {world.admin_url}; teacher and students replay recorded answers, "
                "and `flaky` fails on purpose"
            )
            _scrape(folder, world.admin, seconds)
        finally:
            world.close()
            console.print(f"{world.asked} requests were asked")


def _demo(folder: Path, seconds: float | None) -> None:
    demo = subprocess.Popen([sys.executable, "-m", "examples.demo", "--folder", str(folder / "demo")])
    try:
        _scrape(folder, _admin_of(folder / "demo" / "gateway.yaml", demo), seconds)
    finally:
        demo.terminate()
        demo.wait(ENDED_WITHIN_S)


def _admin_of(file: Path, demo: "subprocess.Popen[bytes]") -> str:
    until = time.monotonic() + CONFIGURED_WITHIN_S
    while not file.exists():
        if demo.poll() is not None or time.monotonic() > until:
            raise DidNotStart("the demo ended, or took too long, before it had a configuration")
        time.sleep(0.2)
    time.sleep(0.2)  # it is being written
    return str(yaml.safe_load(file.read_text())["admin"])


def _scrape(folder: Path, admin: str, seconds: float | None) -> None:
    with Prometheus(folder, [admin], free_port(9090)) as prometheus:
        _where_to_look(prometheus.url, admin)
        until = None if seconds is None else time.monotonic() + seconds
        while until is None or time.monotonic() < until:
            time.sleep(0.2)


def _where_to_look(url: str, admin: str) -> None:
    console.print(
        f"\n[bold]Look at[/bold] (scraped every second)\n  {url}/classic/alerts   alerts, and which of them fire"
    )
    for what, query in LOOK_AT.items():
        link = f"{url}/classic/graph?g0.range_input=5m&g0.tab=0&g0.expr={quote(query)}"
        console.print(f"  {what}: [link={link}]{link}[/link]")
    console.print(f"  http://{admin}/         the rollout's own page")
    console.print(f"  http://{admin}/metrics  what is scraped")
    console.print(
        f"dashboards for Grafana: {DASHBOARDS}; with Docker `docker compose -f monitoring/compose.yaml up` shows them\n"
    )


if __name__ == "__main__":
    sys.exit(main())
