"""How requests reach an upstream, whoever sends them: the headers and the query that go with each, and the proxy between.

The data plane and the gateway's own calls (lists of models, adapters, judges, engines' metrics) follow these same
functions, so an upstream that answers one answers the other. Pure: the environment is handed in.
"""

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlencode, urlsplit

from graduand.gateway.errors import ConfigError
from graduand.gateway.model.routes import DIRECT, Replica, Upstream

# In the order in which curl and most other programs look.
PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY")
NO_PROXY_VARIABLES = ("no_proxy", "NO_PROXY")
# The one version of Anthropic's API that is in use; `headers` of an upstream may name another.
ANTHROPIC_VERSION = "2023-06-01"
# Proxies that speak otherwise, by their schemes.
OTHER_PROXIES = {
    **dict.fromkeys(("socks", "socks4", "socks4a", "socks5", "socks5h"), "it is a SOCKS proxy"),
    "https": "it is a proxy that is spoken to in TLS",
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that is asked to CONNECT; `authorization` is the value of its own header, empty without a password."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """`http://HOST:PORT`, without what is secret."""
        return f"http://{_bracketed(self.host)}:{self.port}"


def headers_of(upstream: Upstream) -> dict[str, str]:
    """The headers that go with every request to the upstream, names in lower case: its key's, and those of the file."""
    own = {one.name: one.value for one in upstream.headers}
    version = {"anthropic-version": ANTHROPIC_VERSION} if upstream.kind == "anthropic" else {}
    if not upstream.api_key:
        return {**version, **own}
    name = key_header(upstream)
    return {name: upstream.api_key if version else f"Bearer {upstream.api_key}", **version, **own}


def key_header(upstream: Upstream) -> str:
    """The header in which the upstream wants its key."""
    return "x-api-key" if upstream.kind == "anthropic" else "authorization"


def query_of(upstream: Upstream) -> str:
    """What stands behind the path of every request to the upstream: `?NAME=VALUE&…`, or nothing."""
    return "?" + urlencode([(one.name, one.value) for one in upstream.query], quote_via=quote) if upstream.query else ""


def secrets_of(upstream: Upstream) -> tuple[str, ...]:
    """What the upstream's own words must not tell a client, should it repeat it."""
    given = [upstream.api_key] if upstream.api_key else []
    return (*given, *(one.value for one in (*upstream.headers, *upstream.query) if one.secret and one.value))


def authority(host: str, port: int, scheme: str = "") -> str:
    """`HOST:PORT` as a request names it; the port is left out where it is the scheme's own."""
    default = {"http": 80, "https": 443}.get(scheme)
    return _bracketed(host) if port == default else f"{_bracketed(host)}:{port}"


def proxy_of(upstream: Upstream, replica: Replica, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy on the way to a replica, if there is one; raise ConfigError if what names it is no proxy's address.

    The upstream's own `proxy` wins. Without one, HTTPS_PROXY counts for addresses with https that NO_PROXY does not name.
    """
    if upstream.proxy is not None:
        return None if upstream.proxy == DIRECT else read_proxy(upstream.proxy)
    if replica.scheme != "https":
        return None
    named = _first(PROXY_VARIABLES, environ)
    if not named or spared(replica.host, replica.port, _first(NO_PROXY_VARIABLES, environ)):
        return None
    try:
        return read_proxy(named)
    except ConfigError as error:
        raise ConfigError(f"the environment's HTTPS_PROXY {error}") from None


def read_proxy(text: str) -> Proxy:
    """The proxy at `http://[USER:PASSWORD@]HOST:PORT`, or at `HOST:PORT`; the error does not repeat what may be secret."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        shown = text.rpartition("@")[2].partition("?")[0]
        why = OTHER_PROXIES.get(parts.scheme, "")
        also = f": {why} ({parts.scheme}://), which is not supported" if why else ""
        raise ConfigError(f"{shown!r} is not the address of an HTTP proxy, such as http://proxy.example:3128{also}")
    return Proxy(parts.hostname, port, _basic(parts.username, parts.password))


def spared(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY names a host: itself, a domain that it is in, a network in CIDR form, each with a port or without
    one; or everything (`*`)."""
    return any(_names(one, host.lower().rstrip("."), port) for one in no_proxy.lower().replace(",", " ").split())


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # one of the two is a name, or the entry has a port
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit() and (":" not in name or name.endswith("]")):
        return int(wanted) == port and _names(name, host, port)
    domain = entry.strip("[]").removeprefix("*").strip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _basic(user: str | None, password: str | None) -> str:
    if not user and not password:
        return ""
    pair = f"{unquote(user or '')}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _first(names: tuple[str, ...], environ: Mapping[str, str]) -> str:
    return next((environ[name].strip() for name in names if environ.get(name, "").strip()), "")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
