"""Whether a replica may be asked: a circuit breaker an address and a retry budget an upstream.

Pure: the clock is passed in, in seconds. After Nygard, Release It! (breaker) and Finagle's RetryBudget (budget).
"""

TRIP_AFTER = 5
FIRST_REST_S = 0.5
LONGEST_REST_S = 5.0

BUDGET_SHARE = 0.2
BUDGET_CAP = 100.0
BUDGET_START = 10.0
BUDGET_PER_S = 1.0


class Breaker:
    """Closed until TRIP_AFTER failures in a row; then open for a rest that doubles; then one probe at a time.

    >>> breaker = Breaker()
    >>> for _ in range(5): breaker.failed(now=0.0)
    >>> breaker.allows(0.1), breaker.allows(0.6)
    (False, True)
    >>> breaker.begin(0.6); breaker.allows(0.7)
    False
    >>> breaker.succeeded(); breaker.allows(0.8)
    True
    """

    __slots__ = ("_failures", "_open_until", "_probing_until", "_rest_s")

    def __init__(self) -> None:
        self._failures = 0
        self._rest_s = 0.0
        self._open_until = 0.0
        self._probing_until = 0.0

    @property
    def state(self) -> str:
        """`closed` or `open`; open includes waiting for a probe's result."""
        return "open" if self.resting else "closed"

    @property
    def resting(self) -> bool:
        """Whether the breaker is open: what is allowed then is a probe."""
        return self._rest_s > 0

    def allows(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return not self._rest_s or (now >= self._open_until and now >= self._probing_until)

    def begin(self, now: float) -> None:
        """A request is sent. While open, it is the probe, and the only one until it ends or is forgotten."""
        if self._rest_s:
            self._probing_until = now + 2 * LONGEST_REST_S

    def abandoned(self) -> None:
        """A request ended without saying anything about the replica (its client left)."""
        self._probing_until = 0.0

    def succeeded(self) -> None:
        """A request was answered: the breaker closes."""
        self._failures = 0
        self._rest_s = 0.0
        self._probing_until = 0.0

    def failed(self, now: float) -> None:
        """A request failed in a way that speaks against the replica."""
        self._failures += 1
        self._probing_until = 0.0
        if self._rest_s or self._failures >= TRIP_AFTER:
            if now < self._open_until:
                return  # a straggler that was sent before the breaker opened
            self._rest_s = min(self._rest_s * 2 or FIRST_REST_S, LONGEST_REST_S)
            self._open_until = now + self._rest_s


class RetryBudget:
    """Lets retries be at most a share of the requests, so that an outage is not answered with a storm."""

    __slots__ = ("_at", "_tokens")

    def __init__(self) -> None:
        self._tokens = BUDGET_START
        self._at: float | None = None

    def request(self) -> None:
        """Count a first attempt."""
        self._tokens = min(self._tokens + BUDGET_SHARE, BUDGET_CAP)

    def take(self, now: float) -> bool:
        """Whether a retry may be made now; if so it is paid for."""
        if self._at is not None:
            self._tokens = min(self._tokens + (now - self._at) * BUDGET_PER_S, BUDGET_CAP)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
