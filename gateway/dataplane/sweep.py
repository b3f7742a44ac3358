"""What time does to a worker's calls and connections: no request has a timer of its own, all are looked at together.

Invariant: sockets come before clocks. A process that stood still has not read what came meanwhile, so nothing is ended for
that time: deadlines are moved, and what has arrived is read before the next look.
"""

from graduand.gateway.dataplane.fleet import Fleet
from graduand.gateway.dataplane.http.pauses import Pauses
from graduand.gateway.dataplane.http.server import ClientConnection

EVERY_S = 0.05
TIDY_EVERY_S = 1.0


class Sweep:
    """Of one worker; `look` is to be called every EVERY_S."""

    def __init__(self, fleet: Fleet, connections: set[ClientConnection], pauses: Pauses) -> None:
        self._fleet = fleet
        self._connections = connections
        self._pauses = pauses
        self._tidy_at = 0.0

    def look(self, now: float, longest_s: float) -> None:
        """End what has had its time at `now` by the event loop's clock; `longest_s` is the most that a request may take."""
        stood_still_s = self._pauses.look(now)
        if stood_still_s:
            self._fleet.postpone(stood_still_s)
            for connection in self._connections:
                connection.postpone(stood_still_s)
            return
        self._fleet.expire(now)
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_EVERY_S
            self._fleet.forget_old(now)
            for connection in list(self._connections):
                connection.expire(now, longest_s)
