"""What an upstream says beside its answer: its own id of the request, how long it worked, and what is left of its limits.

The id and the time go to the client and into the log, for whoever has to ask the vendor about a request.
"""

import re

# Each vendor's own name: OpenAI and most others, Anthropic, Azure (two), Amazon.
REQUEST_IDS = (b"x-request-id", b"request-id", b"apim-request-id", b"x-ms-request-id", b"x-amzn-requestid")
PROCESSING_MS = b"openai-processing-ms"
# OpenAI's and most others', and Anthropic's.
RATE_LIMITS = (b"x-ratelimit-", b"anthropic-ratelimit-")
ID = re.compile(rb"[\x21-\x7e]{1,200}")
VALUE = re.compile(rb"[\x20-\x7e]{0,200}")
NAME = re.compile(rb"[a-z0-9-]{1,64}")
MOST_LIMITS = 32


def request_id(headers: dict[bytes, bytes]) -> bytes:
    """The vendor's id of the request; empty if it named none."""
    for name in REQUEST_IDS:
        value = headers.get(name)
        if value is not None and ID.fullmatch(value) is not None:
            return value
    return b""


def processing_ms(headers: dict[bytes, bytes]) -> float | None:
    """How long the vendor says to have worked, in milliseconds."""
    value = headers.get(PROCESSING_MS)
    # As text: float() would take "nan" and "1_0" too.
    return float(value) if value is not None and len(value) < 16 and value.isdigit() else None


def passed_on(headers: dict[bytes, bytes], named: bytes, *, rate_limits: bool) -> bytes:
    """The lines of headers that the client gets, with the id `named`; the limits only if it is to know of the account's."""
    lines = b"x-upstream-request-id: %b\r\n" % named if named else b""
    took = headers.get(PROCESSING_MS)
    if took is not None and processing_ms(headers) is not None:
        lines += b"%b: %b\r\n" % (PROCESSING_MS, took)
    return lines + _limits(headers) if rate_limits else lines


def _limits(headers: dict[bytes, bytes]) -> bytes:
    found = [(name, value) for name, value in headers.items() if name.startswith(RATE_LIMITS)]
    fit = [one for one in found if NAME.fullmatch(one[0]) and VALUE.fullmatch(one[1])]
    return b"".join(b"%b: %b\r\n" % one for one in fit[:MOST_LIMITS])
