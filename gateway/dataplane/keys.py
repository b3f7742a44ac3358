"""Client keys and what each may use.

Keys are held and compared as SHA-256 digests with a constant-time comparison, so neither a timing nor a memory dump of
the table tells a key. Limits are counted exactly across workers (gateway.dataplane.counts).
"""

import hashlib
import hmac
from pathlib import Path

from graduand.gateway.dataplane.counts import SharedCounts
from graduand.gateway.errors import RequestError
from graduand.gateway.model.routes import Limits

WINDOW_S = 60.0


class ClientKeys:
    """Recognises keys; without any, everybody is let in as client 0."""

    def __init__(self, keys: tuple[str, ...] | None) -> None:
        self._digests = None if keys is None else [hashlib.sha256(key.encode()).digest() for key in keys]

    def client(self, authorization: bytes | None) -> int:
        """The number of the client that an Authorization header belongs to; raise RequestError (401) if none."""
        if self._digests is None:
            return 0
        scheme, _, key = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not key.strip():
            raise RequestError(
                401, "no API key was given; send it as 'Authorization: Bearer KEY'",
                kind="authentication_error", code="missing_api_key",
            )  # fmt: skip
        digest = hashlib.sha256(key.strip()).digest()
        found = -1
        for number, known in enumerate(self._digests):
            if hmac.compare_digest(digest, known):
                found = number
        if found < 0:
            raise RequestError(
                401, "the API key is not one of this gateway's client keys; ask whoever runs it for one",
                kind="authentication_error", code="invalid_api_key",
            )  # fmt: skip
        return found


class KeyLimits:
    """Counts requests and tokens of each client in windows of a minute that begin with its first request."""

    def __init__(self, path: Path, clients: int, limits: Limits) -> None:
        self._limits = limits
        self._counts = SharedCounts(path, clients)

    def close(self) -> None:
        """Give the file back; not to be used afterwards."""
        self._counts.close()

    def admit(self, client: int, now: float) -> None:
        """Count a request; raise RequestError (429 with the seconds to wait) if the client has used up its minute."""
        limits = self._limits
        with self._counts.locked(client):
            start, requests, tokens = self._window(client, now)
            full = limits.requests_per_minute and requests >= limits.requests_per_minute
            spent = limits.tokens_per_minute and tokens >= limits.tokens_per_minute
            if not full and not spent:
                self._counts.write(client, start, requests + 1, tokens)
                return
        what = f"{limits.requests_per_minute} requests" if full else f"{limits.tokens_per_minute} tokens"
        wait_s = max(start + WINDOW_S - now, 1.0)
        raise RequestError(
            429, f"this key may use {what} a minute; try again in {wait_s:.0f} s",
            kind="rate_limit_error", code="rate_limit_exceeded", retry_after_s=wait_s,
        )  # fmt: skip

    def spend(self, client: int, tokens: int, now: float) -> None:
        """Count the tokens that an answer used."""
        with self._counts.locked(client):
            start, requests, spent = self._window(client, now)
            self._counts.write(client, start, requests, spent + tokens)

    def _window(self, client: int, now: float) -> tuple[float, float, float]:
        start, requests, tokens = self._counts.read(client)
        # A start that is a little ahead is another worker's, which looked at the clock later but took the lock first.
        return (now, 0.0, 0.0) if abs(now - start) >= WINDOW_S else (start, requests, tokens)
