"""Where a Redis is, and a client of it that answers or fails within seconds.

`redis://[USER@]HOST:PORT/DB`, `rediss://…` (TLS, authorities as OpenSSL has them: SSL_CERT_FILE), or
`redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB` (the primary that Redis Sentinel names). Never a password: it is given apart.
"""

import re
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 2.0
ADDRESS = re.compile(
    r"(?P<scheme>redis|rediss|redis\+sentinel)://((?P<user>[^:@/?#,]+)@)?(?P<hosts>[^@/?#]+)"
    r"(/(?P<name>[A-Za-z][A-Za-z0-9._-]*))?(/(?P<db>[0-9]{1,4})?)?"
)
HOST = re.compile(r"(\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(:(?P<port>[0-9]{1,5}))?")
PORTS = {"redis": 6379, "rediss": 6379, "redis+sentinel": 26379}


@dataclass(frozen=True, slots=True)
class Address:
    """What an address says; `name` is the primary's at the Sentinels that `hosts` then are."""

    hosts: tuple[tuple[str, int], ...]
    db: int = 0
    user: str | None = None
    tls: bool = False
    name: str | None = None


def address(text: str) -> Address | None:
    """The address that `text` is, or None if it is none."""
    found = ADDRESS.fullmatch(text)
    if found is None:
        return None
    hosts = [HOST.fullmatch(one) for one in found["hosts"].split(",")]
    default, sentinels = PORTS[found["scheme"]], found["scheme"] == "redis+sentinel"
    places = tuple((one["six"] or one["host"], int(one["port"] or default)) for one in hosts if one is not None)
    right = len(places) == len(hosts) and all(0 < port < 65536 for _, port in places)
    if not right or (found["name"] is not None) != sentinels or (len(places) > 1 and not sentinels):
        return None
    return Address(places, int(found["db"] or 0), found["user"], found["scheme"] == "rediss", found["name"])


def connect(url: str, password: str | None) -> Any:
    """A client; it connects when it is first used. Nothing is sent twice: what was not answered may have been done."""
    # Only who uses it pays for it: every command of the command line reads this module.
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from redis.sentinel import Sentinel

    where = address(url)
    assert where is not None, "checked by gateway.config.read"
    options: dict[str, Any] = {
        "db": where.db, "username": where.user, "password": password, "client_name": "graduand",
        "socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "retry": Retry(NoBackoff(), 0),
    }  # fmt: skip
    if where.name is None:
        host, port = where.hosts[0]
        return redis.Redis(host=host, port=port, ssl=where.tls, **options)
    patience = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    sentinels: Any = Sentinel  # untyped
    return sentinels(where.hosts, sentinel_kwargs=patience).master_for(where.name, **options)
