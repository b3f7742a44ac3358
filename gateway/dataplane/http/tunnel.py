"""A way through an HTTP proxy: CONNECT (RFC 9110, 9.3.6) on a socket that is then the upstream's.

An upstream says nothing before it is asked, so whatever comes before that is the proxy's.
"""

import asyncio
import re
import socket

from graduand.gateway.dataplane.http.failures import Failure, UpstreamFailed
from graduand.gateway.model.outbound import Proxy, authority

MOST_BYTES = 16 << 10
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
ENDS = (b"\r\n\r\n", b"\n\n")
# The request never reached the upstream, so for the log and the retries it is a failed connection, whatever the proxy said.
CAUSE = "connect"


async def opened(loop: asyncio.AbstractEventLoop, proxy: Proxy, host: str, port: int) -> socket.socket:
    """A socket to `host`:`port` through the proxy, to be closed; raise UpstreamFailed, with the proxy's own status if it
    refuses. The caller bounds the time."""
    connected = await _connected(loop, proxy)
    try:
        where = authority(host, port)
        lines = [f"CONNECT {where} HTTP/1.1", f"host: {where}"]
        if proxy.authorization:
            lines.append(f"proxy-authorization: {proxy.authorization}")
        await loop.sock_sendall(connected, "\r\n".join([*lines, "", ""]).encode("latin-1"))
        await _accepted(loop, connected, proxy)
    except OSError as error:
        connected.close()
        raise UpstreamFailed(_failure(proxy, "closed the connection")) from error
    except BaseException:
        connected.close()
        raise
    return connected


async def _connected(loop: asyncio.AbstractEventLoop, proxy: Proxy) -> socket.socket:
    try:
        found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UpstreamFailed(_failure(proxy, "cannot be found")) from error
    last: OSError | None = None
    for family, kind, protocol, _, place in found:
        one = socket.socket(family, kind, protocol)
        try:
            one.setblocking(False)
            await loop.sock_connect(one, place)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return one
        except OSError as error:
            one.close()
            last = error
        except BaseException:
            one.close()
            raise
    raise UpstreamFailed(_failure(proxy, "cannot be reached")) from last


async def _accepted(loop: asyncio.AbstractEventLoop, connected: socket.socket, proxy: Proxy) -> None:
    """Read the proxy's answer; a 2xx has no body."""
    head = b""
    while not any(end in head for end in ENDS):
        piece = await loop.sock_recv(connected, 4096)
        head += piece
        if not piece:
            raise UpstreamFailed(_failure(proxy, "closed the connection"))
        if len(head) > MOST_BYTES:
            raise UpstreamFailed(_failure(proxy, "answers without an end"))
    status = STATUS.match(head)
    if status is None:
        raise UpstreamFailed(_failure(proxy, "does not speak HTTP"))
    number = int(status[1])
    if not 200 <= number < 300:
        wants = ", it wants a user and a password" if number == 407 else ""
        raise UpstreamFailed(_failure(proxy, f"answered {number}{wants}", retry=number >= 500))
    if not head.endswith(ENDS):
        raise UpstreamFailed(_failure(proxy, "said more than that it has connected"))


def _failure(proxy: Proxy, what: str, *, retry: bool = True) -> Failure:
    return Failure(CAUSE, f"the proxy {proxy.address} in front of the upstream {what}", retry=retry)
