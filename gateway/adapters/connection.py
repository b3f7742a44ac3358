"""The gateway's own calls to an upstream: a client that goes the way the data plane's requests go.

The same key, headers, query, proxy and authorities (gateway.model.outbound): what answers the one answers the other.
"""

import os
import ssl

import httpx

from graduand.gateway.model import outbound
from graduand.gateway.model.routes import Replica, Upstream


def client(upstream: Upstream, replica: Replica, timeout: httpx.Timeout | float) -> httpx.Client:
    """A client for one replica's addresses, to be closed; `timeout` in seconds. Raises ConfigError for a wrong proxy."""
    proxy = outbound.proxy_of(upstream, replica, os.environ)
    # A context is slow to make, so it is made only where one is needed.
    trusted = ssl.create_default_context(cafile=upstream.ca_file) if replica.scheme == "https" else False
    return httpx.Client(
        headers=outbound.headers_of(upstream),
        params=[(one.name, one.value) for one in upstream.query],
        proxy=None if proxy is None else httpx.Proxy(proxy.address, headers=_to_proxy(proxy)),
        timeout=timeout,
        verify=trusted,
        trust_env=False,
    )


def way(upstream: Upstream, replica: Replica) -> str:
    """What stands in between, for whoever reads why a call failed; empty if nothing does."""
    proxy = outbound.proxy_of(upstream, replica, os.environ)
    return "" if proxy is None else f" through the proxy {proxy.address}"


def _to_proxy(proxy: outbound.Proxy) -> dict[str, str]:
    return {"proxy-authorization": proxy.authorization} if proxy.authorization else {}
