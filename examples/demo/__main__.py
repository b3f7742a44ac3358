"""The whole graduation on one machine: log the teacher, train two students, and roll them out on evidence.

`make demo` runs it; `make demo ARGS=--once` ends by itself. Everything is real but the teacher, which replays recorded
answers: it stands where a user puts OpenAI. `make observe` runs the same with a Prometheus that looks on.
"""

import argparse
import json
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from examples.demo.graduation import SEED, Failed, console, graduate
from examples.demo.places import Places
from examples.demo.rollouts import Stopped
from examples.demo.servers import DidNotStart, Servers
from examples.demo.tickets import QUEUE, corpus


def main() -> int:
    """Run the demo; 0 if both students kept the promise."""
    arguments = argparse.ArgumentParser(prog="make demo", description=__doc__)
    arguments.add_argument("--once", action="store_true", help="end when the hand-over is done")
    arguments.add_argument("--folder", type=Path, default=Path("graduand-data/demo"), help="where its files go")
    options = arguments.parse_args()
    # A SIGTERM ends it as Ctrl-C does, so that its servers are ended too.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    began = time.monotonic()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    places = Places.free(options.folder)
    try:
        with Servers(options.folder) as servers:
            kept = graduate(places, servers)
            console.print(f"\nAll of it took {(time.monotonic() - began) / 60:.1f} minutes.")
            _what_next(places)
            if not options.once:
                console.print("\n[bold]Everything stays up until Ctrl-C.[/bold]")
                threading.Event().wait()
            return 0 if kept else 1
    except KeyboardInterrupt:
        console.print("\nstopped")
        return 0
    except (Failed, DidNotStart, Stopped) as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1


def _what_next(places: Places) -> None:
    chat = json.dumps({"model": QUEUE.name, "messages": QUEUE.messages(corpus(SEED, 1)[0])})
    console.print(
        f"""
[bold]Try next[/bold] (while the demo runs)
  curl {places.base_url}/chat/completions -d '{chat}'
  .venv/bin/graduand routes list --admin {places.admin_url}
  .venv/bin/graduand rollout explain ticket-queue --admin {places.admin_url}
  .venv/bin/graduand rollout rollback ticket-queue --why "to see it" --admin {places.admin_url}
  .venv/bin/graduand adapters list --admin {places.admin_url}
  .venv/bin/graduand monitors list --admin {places.admin_url}
  .venv/bin/graduand logs query "SELECT route, arm, count(*) FROM log GROUP BY ALL" --from {places.logs}
[bold]Look at[/bold]
  {places.admin_url}/rollouts  the rollouts: agreement, evidence, decisions, disagreements
  {places.admin_url}/docs     the admin plane's API
  {places.admin_url}/metrics  what Prometheus scrapes: `make observe` is this demo with one beside it
  {places.logs}  every request and answer: Parquet parts, and JSON lines of the last minute (segments/)
  {places.config}  the gateway's configuration""",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
