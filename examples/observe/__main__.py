"""`make demo` under a real Prometheus, and traffic afterwards that never stops: `make observe`, until Ctrl-C.

ARGS=--check asks every query of the dashboards once the demo is done, and ends: 0 if each found data. `--small` starts a
world of its own instead, within seconds and with faults in it; `--gateway HOST:PORT` only scrapes the admin plane of a
gateway that is already running.
"""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path
from urllib.parse import quote

from rich.console import Console

from examples.demo.graduation import Failed, graduate, recorded
from examples.demo.places import Places
from examples.demo.rollouts import Stopped
from examples.demo.servers import DidNotStart, Servers, free_port
from examples.demo.tickets import QUEUE, TASKS
from examples.observe.check import findings, table
from examples.observe.dashboards import DASHBOARDS
from examples.observe.prometheus import NoPrometheus, Prometheus
from examples.observe.users import Users
from examples.observe.world import World

LOOK_AT = {
    "who answers": "sum by (route, arm) (rate(graduand_requests_total[30s]))",
    "agreement and its band": "graduand_agreement or graduand_agreement_lower or graduand_agreement_upper",
    "evidence and what is asked": "graduand_rollout_evidence or graduand_rollout_evidence_threshold",
    "dollars an hour": "graduand_net_saved:dollars_per_hour",
    "errors by cause": "sum by (route, cause) (rate(graduand_request_errors_total[30s]))",
}
GRAFANA = "docker compose -f monitoring/compose.yaml up --no-deps grafana"
GRAFANA_READS = ":9090"
# The demo's own servers need the machine; the small world is there to be looked at.
DEMO_SCRAPE_S, SCRAPE_S = 5, 1
DEMO_PAUSE_S = 0.4
CHECKED_WITHIN_S = 240.0
CHECK_AGAIN_S = 5.0

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Observe; 0 when it ended as asked, 1 if something did not start or a query that was checked found nothing."""
    parser = argparse.ArgumentParser(prog="make observe", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small world instead of the demo: seconds, not minutes")
    parser.add_argument("--gateway", metavar="HOST:PORT", help="scrape the admin plane of a running gateway")
    parser.add_argument("--check", action="store_true", help="ask all queries of the dashboards, print the table, end")
    parser.add_argument(
        "--for", type=float, dest="seconds", metavar="SECONDS", help="once all is up, end after so long"
    )
    parser.add_argument("--no-engine", action="store_true", help="with --small: no embedded engine, needs no torch")
    parser.add_argument("--folder", type=Path, default=Path("graduand-data/observe"), help="where its files go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    shutil.rmtree(options.folder, ignore_errors=True)
    folder = options.folder.resolve()
    (folder / "world").mkdir(parents=True)
    try:
        if options.gateway:
            with Prometheus(folder, [options.gateway], free_port(9090), SCRAPE_S) as prometheus:
                return _look(prometheus, options.gateway, options)
        return (_small if options.small else _demo)(folder, options)
    except KeyboardInterrupt:
        console.print("\nstopped")
        return 0
    except (NoPrometheus, DidNotStart, Failed, Stopped) as error:
        console.print(f"[red]{error}[/red]")
        return 1


def _demo(folder: Path, options: argparse.Namespace) -> int:
    places = Places.free(folder / "world")
    with (
        Prometheus(folder, [places.admin], free_port(9090), DEMO_SCRAPE_S) as prometheus,
        Servers(places.folder) as servers,
    ):
        _where_to_look(prometheus, places.admin)
        console.print("The demo begins; there is something to see from its second step on.\n")
        graduate(places, servers)
        with Users(places.base_url, [task.name for task in TASKS], recorded(), DEMO_PAUSE_S):
            console.print("\n[bold]The demo is done; customers go on asking.[/bold]")
            return _look(prometheus, places.admin, options)


def _small(folder: Path, options: argparse.Namespace) -> int:
    with Servers(folder / "world") as servers:
        world = World(folder / "world", servers, engine=not options.no_engine)
        try:
            world.start(console.print)
            console.print(
                f"gateway {world.base_url}, admin plane {world.admin_url}; teacher and students replay recorded answers, "
                "and `flaky` fails on purpose"
            )
            with Prometheus(folder, [world.admin], free_port(9090), SCRAPE_S) as prometheus:
                return _look(prometheus, world.admin, options)
        finally:
            world.close()


def _look(prometheus: Prometheus, admin: str, options: argparse.Namespace) -> int:
    """Let people look, until Ctrl-C or for as long as was asked; or check and end."""
    _where_to_look(prometheus, admin)
    if options.check:
        return _check(prometheus)
    console.print("[bold]Everything stays up until Ctrl-C.[/bold]" if options.seconds is None else "")
    until = None if options.seconds is None else time.monotonic() + options.seconds
    while until is None or time.monotonic() < until:
        time.sleep(0.2)
    return 0


def _check(prometheus: Prometheus) -> int:
    """All queries, again and again until each has data: rates need two scrapes, and a rollout some traffic."""
    until = time.monotonic() + CHECKED_WITHIN_S
    while True:
        found = list(findings(prometheus, prefer=QUEUE.name))
        empty = [one for one in found if one.empty]
        if not empty or time.monotonic() > until:
            break
        console.print(f"{len(empty)} of {len(found)} queries have no data yet: {empty[0].asked.where}, …")
        time.sleep(CHECK_AGAIN_S)
    console.print(table(found), width=120)
    for one in empty:
        console.print(f"no data: {one.asked}", style="red", markup=False)
    firing = {
        one["metric"]["alertname"] for one in prometheus.ask("query", query="ALERTS{alertstate='firing'}")["result"]
    }
    console.print(f"alerts that fire: {', '.join(sorted(firing)) or 'none'}")
    console.print(f"{len(found) - len(empty)} of {len(found)} queries have data")
    return 1 if empty else 0


def _where_to_look(prometheus: Prometheus, admin: str) -> None:
    url = prometheus.url
    console.print(
        f"\n[bold]Look at[/bold] (Prometheus scrapes every {prometheus.every_s} s)\n"
        f"  {url}/classic/alerts   alerts, and which of them fire"
    )
    for what, query in LOOK_AT.items():
        link = f"{url}/classic/graph?g0.range_input=15m&g0.tab=0&g0.expr={quote(query)}"
        console.print(f"  {what}: [link={link}]{link}[/link]")
    console.print(f"  http://{admin}/         the rollouts' own page")
    console.print(f"  http://{admin}/metrics  what is scraped")
    console.print(f"  {DASHBOARDS}  dashboards to import into a Grafana whose data source is {url}")
    if url.endswith(GRAFANA_READS):
        console.print(f"  with Docker: `{GRAFANA}`, then http://127.0.0.1:3000")
    console.print("")


if __name__ == "__main__":
    sys.exit(main())
