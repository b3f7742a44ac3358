"""Where a server listens: `HOST:PORT` read, checked and bound, with errors that say what to do.

Invariant: a socket returned by `bind` already accepts connections, so an announced address can be used at once.
"""

import socket

from graduand.gateway.errors import ConfigError, GraduandError

BACKLOG = 2048


class ListenError(GraduandError, OSError):
    """The address cannot be listened on: it is in use, not ours, or needs rights that we lack."""


def parse(written: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; `[::1]:80` for IPv6; port 0 lets the system choose."""
    host, colon, port = written.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"address {written!r} is not HOST:PORT, such as 127.0.0.1:8000")
    return host, int(port)


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; raise ListenError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise ListenError(f"cannot listen on {host}:{port}: {reason}; choose another address with --listen") from error
    listener.setblocking(False)
    return listener


def show(listener: socket.socket) -> str:
    """The address that `listener` really has, as `HOST:PORT`."""
    return text(*listener.getsockname()[:2])


def text(host: str, port: int) -> str:
    """`HOST:PORT`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
