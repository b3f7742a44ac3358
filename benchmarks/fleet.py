"""All servers of one phase: the upstream on the load's core, the peers side by side on the gateway's.

Peers that wait cost next to nothing, and having all of them up lets the rounds be interleaved. Invariant: leaving the
context ends every server, also after an error.
"""

import http.client
import json
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from benchmarks import nginx, payload
from benchmarks.environments import ROOT, Unavailable
from benchmarks.peers import DIRECT, Launch, Peer, Place
from benchmarks.process import Server, free_port

READY_TIMEOUT_S = 120.0
POLL_S = 0.1


@dataclass(slots=True)
class Fleet:
    """The running servers by row, and why the others are not there."""

    folder: Path
    gateway_core: int
    load_core: int
    streamed: bool
    ports: dict[str, int] = field(default_factory=dict)
    second_ports: dict[str, int] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, peers: Iterable[Peer]) -> None:
        """Start the upstream, then the peers at once, and wait until each has answered a chat."""
        self._start_upstream()
        waiting = [peer.name for peer in peers if self._start_peer(peer)]
        for name in waiting:
            self._await(name)

    def _start_upstream(self) -> None:
        port, folder = free_port(), self._folder("upstream")
        if self.streamed:
            launch = Launch([sys.executable, "-m", "benchmarks.upstream", str(port)], {"PYTHONPATH": str(ROOT)})
        else:
            launch = Launch(nginx.upstream(port, folder))
        self._keep(DIRECT, port, Server.start(launch.command, core=self.load_core, log=folder / "log", env=launch.env))
        self._await(DIRECT)
        if reason := self.unavailable.get(DIRECT):
            raise Unavailable(f"the upstream did not start: {reason}")

    def _start_peer(self, peer: Peer) -> bool:
        folder = self._folder(peer.name)
        place = Place(free_port(), free_port(), self.ports[DIRECT], folder)
        try:
            launch = peer.launch(place)
            server = Server.start(launch.command, core=self.gateway_core, log=folder / "log", env=launch.env)
        except Unavailable as error:
            self.unavailable[peer.name] = str(error)
            return False
        self._keep(peer.name, place.port, server)
        self.second_ports[peer.name] = place.second_port
        return True

    def _keep(self, name: str, port: int, server: Server) -> None:
        self._stack.callback(server.stop)
        self.ports[name], self.servers[name] = port, server

    def _folder(self, name: str) -> Path:
        folder = self.folder / f"{'streamed' if self.streamed else 'whole'}-{name.replace(' ', '-').replace('%', '')}"
        folder.mkdir(mode=0o755)
        return folder

    def _await(self, name: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        reason = "did not answer"
        while time.monotonic() < deadline:
            if ended := self.servers[name].ended():
                reason = ended
                break
            problem = probe(self.ports[name])
            if problem is None:
                return
            reason = f"was not ready after {READY_TIMEOUT_S:g} s: {problem}"
            time.sleep(POLL_S)
        self.unavailable[name] = reason
        self.servers.pop(name).stop()


def probe(port: int) -> str | None:
    """Send one chat; why the answer is not right, or None if it is."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {payload.CLIENT_KEY}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", payload.small(), headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            return f"status {answer.status}: {body[:200].decode(errors='replace')}"
        said = json.loads(body)["choices"][0]["message"]["content"]
        return None if said == "billing" else f"answered {said!r}"
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
