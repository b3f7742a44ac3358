"""The header Retry-After: how long to wait before another try. Source: RFC 9110, 10.2.3 (seconds or a date)."""

from email.utils import parsedate_to_datetime


def seconds(value: str | None, now: float) -> float | None:
    """The seconds to wait from `now` (since 1970), at least 0; None if the header is absent or makes no sense.

    >>> seconds("20", 0.0), seconds("Thu, 01 Jan 1970 00:01:00 GMT", 0.0), seconds("-1", 0.0)
    (20.0, 60.0, 0.0)
    >>> seconds("soon", 0.0), seconds("nan", 0.0), seconds(None, 0.0)
    (None, None, None)
    """
    if value is None:
        return None
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(value.strip()).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return max(wait_s, 0.0) if wait_s == wait_s else None


def line(wait_s: float | None) -> bytes:
    """The header as an encoded line, in whole seconds rounded up; nothing without a wait.

    >>> line(1.2), line(None)
    (b'retry-after: 2\\r\\n', b'')
    """
    return b"" if wait_s is None else b"retry-after: %d\r\n" % (wait_s + 0.999)
