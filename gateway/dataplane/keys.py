"""Client keys and what each may use.

Keys are held and compared as SHA-256 digests with a constant-time comparison, so neither a timing nor a memory dump of
the table tells a key. Limits are counted exactly across workers (gateway.dataplane.counts).
"""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from graduand.gateway.dataplane.counts import SharedCounts, slots_of
from graduand.gateway.errors import RequestError
from graduand.gateway.model.clients import ANYBODY, Client, ClientKey
from graduand.gateway.model.routes import Limits

WINDOW_S = 60.0


class ClientKeys:
    """Recognises keys; without any, everybody is let in."""

    def __init__(self, keys: tuple[ClientKey, ...] | None) -> None:
        known = enumerate(keys or ())
        self._clients = None if keys is None else [Client(number, one.name, one.digest) for number, one in known]

    def client(self, authorization: bytes | None) -> Client:
        """The client that an Authorization header belongs to; raise RequestError (401) if none."""
        if self._clients is None:
            return ANYBODY
        scheme, _, key = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not key.strip():
            raise RequestError(
                401, "no API key was given; send it as 'Authorization: Bearer KEY'",
                kind="authentication_error", code="missing_api_key",
            )  # fmt: skip
        digest = hashlib.sha256(key.strip()).digest()
        found = None
        for known in self._clients:
            if hmac.compare_digest(digest, known.digest):
                found = known
        if found is None:
            raise RequestError(
                401, "the API key is not one of this gateway's client keys; ask whoever runs it for one",
                kind="authentication_error", code="invalid_api_key",
            )  # fmt: skip
        return found


class KeyLimits:
    """Counts requests and tokens of each client in windows of a minute that begin with its first request.

    Who is counted is the key, whatever its place in the list: a key keeps its counts when others come or go.
    """

    def __init__(self, path: Path, keys: Iterable[ClientKey], limits: Limits) -> None:
        """`path` is of the counts; beside it lies which slot is whose."""
        self._limits = limits
        self._slots = slots_of(path.with_suffix(".keys"), (one.digest for one in keys))
        self._counts = SharedCounts(path, max(self._slots.values(), default=0) + 1)

    def close(self) -> None:
        """Give the file back; not to be used afterwards."""
        self._counts.close()

    def admit(self, client: Client, now: float) -> None:
        """Count a request; raise RequestError (429 with the seconds to wait) if the client has used up its minute."""
        limits, slot = self._limits, self._slots[client.digest]
        with self._counts.locked(slot):
            start, requests, tokens = self._window(slot, now)
            full = limits.requests_per_minute and requests >= limits.requests_per_minute
            spent = limits.tokens_per_minute and tokens >= limits.tokens_per_minute
            if not full and not spent:
                self._counts.write(slot, start, requests + 1, tokens)
                return
        what = f"{limits.requests_per_minute} requests" if full else f"{limits.tokens_per_minute} tokens"
        wait_s = max(start + WINDOW_S - now, 1.0)
        raise RequestError(
            429, f"this key may use {what} a minute; try again in {wait_s:.0f} s",
            kind="rate_limit_error", code="rate_limit_exceeded", retry_after_s=wait_s,
        )  # fmt: skip

    def spend(self, client: Client, tokens: int, now: float) -> None:
        """Count the tokens that an answer used; of a key that was taken away meanwhile, nothing is left to count."""
        slot = self._slots.get(client.digest)
        if slot is None:
            return
        with self._counts.locked(slot):
            start, requests, spent = self._window(slot, now)
            self._counts.write(slot, start, requests, spent + tokens)

    def _window(self, slot: int, now: float) -> tuple[float, float, float]:
        start, requests, tokens = self._counts.read(slot)
        # A start that is a little ahead is another worker's, which looked at the clock later but took the lock first.
        return (now, 0.0, 0.0) if abs(now - start) >= WINDOW_S else (start, requests, tokens)
