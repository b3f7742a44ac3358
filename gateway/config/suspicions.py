"""What is allowed in a configuration, but is seldom meant: keys and addresses as they are copied from somewhere else."""

import re
from collections.abc import Iterator

from graduand.gateway.model.routes import Replica, Settings, Upstream

# What the gateway itself puts behind a base URL.
ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/models", "/responses", "/messages")
VERSION = re.compile(r"/v\d+[a-z0-9]*(?=/|$)")
DEPLOYMENT = re.compile(r"/openai/deployments/[^/]+$")


def of_settings(settings: Settings) -> Iterator[str]:
    """One sentence each, with whom it is about first; no key is repeated."""
    for upstream in settings.upstreams.values():
        yield from (f"upstream {upstream.name}: {text}" for text in _of_upstream(upstream))
    for one in settings.client_keys or ():
        yield from (f"client_keys: the key of {one.name} {text}" for text in of_key(one.key))
    hub = settings.artifacts.hub_token
    yield from (f"adapters.hub_token {text}" for text in (of_key(hub) if hub is not None else ()))


def _of_upstream(upstream: Upstream) -> Iterator[str]:
    if upstream.api_key is not None:
        yield from (f"its api_key {text}" for text in of_key(upstream.api_key))
    for one in (*upstream.headers, *upstream.query):
        if one.secret and one.name != "authorization":
            yield from (f"its {one.name} {text}" for text in of_key(one.value))
    for replica in upstream.replicas:
        yield from _of_address(upstream, replica)


def _of_address(upstream: Upstream, replica: Replica) -> Iterator[str]:
    url, prefix = replica.url, replica.prefix
    end = next((one for one in ENDPOINTS if prefix.endswith(one)), None)
    if end is not None:
        yield f"{url} ends in {end}, which the gateway adds itself; give {url.removesuffix(end)}"
    elif DEPLOYMENT.search(prefix):
        if all(one.name != "api-version" for one in upstream.query):
            yield f"{url} is a deployment at Azure, which wants an api-version; add query: {{api-version: …}}"
    elif upstream.kind != "lorax" and not VERSION.search(prefix):
        yield f"{url} has no /v1; most servers want {url}/v1"


def of_key(key: str) -> Iterator[str]:
    """What a key looks like that was copied with more than itself."""
    bare = key.strip()
    if not bare:
        yield "is empty"
    if bare != key:
        yield "has blanks around it"
    if bare.lower().startswith("bearer "):
        yield "begins with 'Bearer ', which is no part of a key; leave it out"
    elif any(blank in bare for blank in " \t"):
        yield "has a blank in it"
    if bare[:1] in ("'", '"', "`") or bare[-1:] in ("'", '"', "`"):
        yield "is in quotes, which count as a part of it; leave them out"
