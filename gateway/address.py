"""Addresses as people write them: `HOST:PORT` to listen on, read, checked and bound, and the path of a local URL.

Invariant: a socket that `listen` returned accepts connections, so its address can be announced at once; one that `bind`
returned is ours, but refuses connections until its server is ready for them.
"""

import socket
from pathlib import Path
from urllib.parse import urlsplit

from graduand.gateway.errors import ConfigError, GraduandError

BACKLOG = 4096


class ListenError(GraduandError, OSError):
    """The address cannot be listened on: it is in use, not ours, or needs rights that we lack."""


def parse(written: str, at: str = "") -> tuple[str, int]:
    """Host and port of `HOST:PORT`; `[::1]:80` for IPv6; port 0 lets the system choose.

    `at` is the option or the key that it stands at, for the error (ConfigError).

    >>> parse("[::1]:80", "--listen")
    ('::1', 80)
    """
    host, colon, port = written.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not colon or not host or set(host) & set("[]/@") or not digits or int(port) > 65535:
        raise ConfigError(f"{at}: " * bool(at) + f"{written!r} is not HOST:PORT, such as 127.0.0.1:8080")
    return host, int(port)


def bind(host: str, port: int, at: str) -> socket.socket:
    """A bound TCP socket that does not accept yet; raises ListenError, which names `at`, if the address cannot be had."""
    return _bound(host, port, at, shared=False)


def listen(host: str, port: int, at: str) -> socket.socket:
    """A listening TCP socket; raises ListenError, which names `at`, if the address cannot be had."""
    return _listening(bind(host, port, at))


def listen_together(host: str, port: int, at: str, count: int) -> list[socket.socket]:
    """`count` listening sockets on one address, among which the kernel spreads connections (SO_REUSEPORT).

    An address that another program listens on is refused, even if that one would share it: a plain bind tries it first.
    """
    if port:
        bind(host, port, at).close()
    first = _listening(_bound(host, port, at, shared=True))
    own = first.getsockname()[1]
    return [first, *(_listening(_bound(host, own, at, shared=True)) for _ in range(count - 1))]


def show(listener: socket.socket) -> str:
    """The address that `listener` really has, as `HOST:PORT`."""
    return text(*listener.getsockname()[:2])


def text(host: str, port: int) -> str:
    """`HOST:PORT`, as `parse` reads it.

    >>> text("::1", 80)
    '[::1]:80'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_path(url: str) -> Path:
    """The path of a `file:///` or `sqlite:///` URL; `///./x` is relative to the working folder.

    >>> local_path("file:///./logs"), local_path("sqlite:////var/state.db")
    (PosixPath('logs'), PosixPath('/var/state.db'))
    """
    path = urlsplit(url).path
    return Path(path[1:]) if path.startswith("/./") else Path("/" + path.lstrip("/"))


def _bound(host: str, port: int, at: str, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = None
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except (OSError, UnicodeError, TypeError) as error:  # the last two: a host name that cannot be one
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ListenError(f"{at}: cannot listen on {text(host, port)}: {reason}; choose another address") from error
    listener.setblocking(False)
    return listener


def _listening(listener: socket.socket) -> socket.socket:
    try:
        listener.listen(BACKLOG)
    except OSError as error:  # another program listens on the address, though both could bind it
        where = show(listener)
        listener.close()
        raise ListenError(f"cannot listen on {where}: {error.strerror or error}; choose another address") from error
    return listener
