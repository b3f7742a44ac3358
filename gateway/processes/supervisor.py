"""`graduand serve`: binds the ports, starts the admin plane, the rollouts' controller, the monitor and the workers, restarts
what dies, drains on SIGTERM.

Kept tiny on purpose: no request, no state and no framework passes through this process, so there is little that could
end it. Each worker has a listening socket of its own on the shared port (SO_REUSEPORT), which this process keeps open:
connections that arrive while a worker restarts wait for it instead of being refused.
"""

import argparse
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from graduand.gateway import address
from graduand.gateway.config import read
from graduand.gateway.errors import ConfigError
from graduand.gateway.model.routes import Settings, settings_to_json
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.open import open_state

POLL_S = 0.1
RESTART_AFTER_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_AFTER_S = 30.0
GRACE_S = 5.0
SHIP_WITHIN_S = 15.0
# What a reload cannot change.
FIXED = ("listen", "admin", "workers", "state", "state_password", "logs", "record", "tracing")

logger = logging.getLogger("graduand")


@dataclass(slots=True)
class Child:
    """One process to keep alive: how it is started, and how its restarts went."""

    name: str
    command: list[str]
    descriptors: tuple[int, ...]
    drains: bool = False
    process: "subprocess.Popen[str] | None" = None
    started_at: float = 0.0
    deaths: int = 0
    start_at: float = field(default=0.0)


class Supervisor:
    """Keeps the children of one configuration file alive."""

    def __init__(self, path: Path) -> None:
        self._stopping = False
        self._reload = False
        # First of all: whoever is told to end while it starts must leave nothing behind either.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._ask_reload)
        self._path = path
        self._settings = read.load(path)
        _prepare_state(self._settings)
        self._run_folder = Path(tempfile.mkdtemp(prefix="graduand-"))
        admin = address.listen(*self._settings.admin, "admin")
        listeners = address.listen_together(*self._settings.listen, "listen", self._settings.workers)
        self._sockets = [admin, *listeners]
        self.listen_url = f"http://{address.show(listeners[0])}"
        self.admin_url = f"http://{address.show(admin)}"
        self._children = [self._child("graduand.gateway.processes.admin", "admin", admin)]
        self._children += [self._beside("graduand.gateway.processes.control", "controller")]
        self._children += [self._beside("graduand.gateway.processes.fleet", "fleet")]
        self._children += [self._beside("graduand.gateway.processes.monitor", "monitor")]
        self._children += [self._beside("graduand.gateway.processes.shipper", "shipper")]
        if self._settings.tracing is not None:
            self._children += [self._beside("graduand.gateway.processes.tracer", "tracer")]
        self._children += [
            self._child("graduand.gateway.processes.worker", f"worker {number}", listener, number=number)
            for number, listener in enumerate(listeners)
        ]

    def run(self) -> int:
        """Serve until SIGTERM or Ctrl-C; return the exit code."""
        try:
            while not self._stopping:
                self._keep_alive()
                if self._reload:
                    self._reload_configuration()
                time.sleep(POLL_S)
        finally:
            self._end()
        return 0

    def _child(self, module: str, name: str, listener: socket.socket, number: int = 0) -> Child:
        arguments = {"number": number, "listener": listener.fileno(), "run_folder": str(self._run_folder)}
        command = [sys.executable, "-m", module, json.dumps(arguments)]
        return Child(name, command, (listener.fileno(),), drains=module == "graduand.gateway.processes.worker")

    def _beside(self, module: str, name: str) -> Child:
        """A process that listens to nothing."""
        arguments = {"run_folder": str(self._run_folder), "began": time.time()}
        return Child(name, [sys.executable, "-m", module, json.dumps(arguments)], ())

    def _keep_alive(self) -> None:
        now = time.monotonic()
        for child in self._children:
            process = child.process
            if process is not None and process.poll() is not None:
                child.process = None
                child.deaths = 1 if now - child.started_at > STEADY_AFTER_S else child.deaths + 1
                delay_s = RESTART_AFTER_S[min(child.deaths - 1, len(RESTART_AFTER_S) - 1)]
                child.start_at = now + delay_s
                logger.error("%s ended with %s; starting it again in %.1f s", child.name, process.returncode, delay_s)
            if child.process is None and now >= child.start_at:
                self._start(child, now)

    def _start(self, child: Child, now: float) -> None:
        # A group of its own: Ctrl-C reaches this process only, which then ends the children in order.
        # SIGTERM waits, blocked, for a worker that is still starting: what the kernel has accepted for it is then served.
        held = {signal.SIGTERM} if child.drains else set()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
        try:
            child.process = subprocess.Popen(
                child.command, stdin=subprocess.PIPE, pass_fds=child.descriptors, text=True, start_new_session=True
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        child.started_at = now
        self._tell(child)

    def _tell(self, child: Child) -> None:
        assert child.process is not None
        assert child.process.stdin is not None
        try:
            child.process.stdin.write(json.dumps(settings_to_json(self._settings)) + "\n")
            child.process.stdin.flush()
        except OSError:
            logger.warning("%s did not take its settings; it will get them when it is started again", child.name)

    def _reload_configuration(self) -> None:
        self._reload = False
        try:
            new = read.load(self._path)
        except ConfigError as error:
            logger.error("the configuration was not reloaded, the old one stays in force: %s", error)
            return
        fixed = [key for key in FIXED if _differs(key, new, self._settings)]
        if fixed:
            logger.error("the configuration was not reloaded: a change of %s needs a restart", ", ".join(fixed))
            return
        self._settings = new
        for child in self._children:
            if child.process is not None:
                self._tell(child)
        logger.info("the configuration was reloaded")

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _ask_reload(self, *_: object) -> None:
        self._reload = True

    def _end(self) -> None:
        # What connects from now on is refused at once instead of waiting for a worker that will not come.
        for listener in self._sockets[1:]:
            listener.close()
        # The admin plane goes last, so that metrics can be read while workers drain; monitor and tracer see what they
        # wrote, and the shipper ships it. A monitor that gets no time on a busy machine loses nothing by being killed.
        late = {
            name: [child for child in self._children if child.name == name]
            for name in ("monitor", "tracer", "shipper", "admin")
        }
        others = [child for child in self._children if child.name not in late]
        longest_s = max(route.timeouts.total_s for route in self._settings.routes.values())
        _terminate(others, longest_s + GRACE_S)
        _terminate(late["monitor"], GRACE_S)
        _terminate(late["tracer"], GRACE_S)
        _terminate(late["shipper"], SHIP_WITHIN_S)
        _terminate(late["admin"], GRACE_S)
        self._sockets[0].close()
        for file in self._run_folder.iterdir():
            file.unlink()
        self._run_folder.rmdir()


def _prepare_state(settings: Settings) -> None:
    # Made here, once, so that the processes that are about to start do not race to make it.
    store = open_state(settings)
    try:
        store.found()
        store.snapshot()
        store.keep()
        for risk in store.risks():
            logger.warning("the state store may lose data: %s", risk)
    except StateError as error:  # never a file's: that fails when it is opened
        logger.error("the state store cannot be used yet: %s", error)
    store.close()


def _terminate(children: list[Child], within_s: float) -> None:
    processes = [child.process for child in children if child.process is not None]
    for process in processes:
        process.terminate()
    until = time.monotonic() + within_s
    for process in processes:
        try:
            process.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _differs(key: str, new: Settings, old: Settings) -> bool:
    return bool(getattr(new, key) != getattr(old, key))


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `serve`."""
    serve = commands.add_parser("serve", help="run the gateway", description="Run the gateway until Ctrl-C or SIGTERM.")
    serve.add_argument("--config", required=True, type=Path, metavar="FILE", help="the configuration file")
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s supervisor: %(message)s")
    supervisor = Supervisor(arguments.config)
    print(f"graduand serves {supervisor.listen_url}/v1, admin plane {supervisor.admin_url} (process {os.getpid()})")
    sys.stdout.flush()
    return supervisor.run()
