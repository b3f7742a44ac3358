"""Which web pages may call: CORS, by the origins that the configuration names. Pure.

Source: the WHATWG Fetch standard, section 3.3. Keys travel in headers, so no credentials of a browser's own are let in.
"""

import re
from typing import Final

# What a page may read of an answer's headers besides those that every page may.
EXPOSED: Final = (
    b"x-graduand-id, x-graduand-route, x-graduand-arm, x-graduand-reason, x-request-id, x-upstream-request-id, "
    b"openai-processing-ms, retry-after"
)
NAMES: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}")
KEPT_S: Final = 600


class Cors:
    """The origins that may call; `*` is every one."""

    __slots__ = ("_all", "_origins")

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset([one.encode() for one in origins])
        self._all = b"*" in self._origins

    def lines(self, headers: dict[bytes, bytes]) -> bytes:
        """The lines that let the page behind a request read its answer; empty if there is none, or it may not."""
        origin = headers.get(b"origin")
        if origin is None or not (self._all or origin in self._origins):
            return b""
        allowed = b"*\r\n" if self._all else b"%b\r\nvary: origin\r\n" % origin
        return b"access-control-allow-origin: %baccess-control-expose-headers: %b\r\n" % (allowed, EXPOSED)

    def preflight(self, headers: dict[bytes, bytes]) -> bytes:
        """The lines that answer a browser's question before the request itself, beside `lines`; empty if this is none."""
        if b"access-control-request-method" not in headers or not self.lines(headers):
            return b""
        names = headers.get(b"access-control-request-headers", b"")
        asked = b"access-control-allow-headers: %b\r\n" % names if NAMES.fullmatch(names) is not None else b""
        return b"access-control-allow-methods: GET, POST\r\n%baccess-control-max-age: %d\r\n" % (asked, KEPT_S)
