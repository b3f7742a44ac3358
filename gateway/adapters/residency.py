"""Adapters on upstreams: load, unload, see where they are, and prove that a loaded one is applied.

Speaks vLLM's dynamic LoRA API, which the embedded engine shares. 'Listed' is not believed: `verify` compares the
probabilities that the adapter and its base give to the same prompts.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from graduand.gateway.adapters import adapter, connection, servers
from graduand.gateway.adapters.servers import Server
from graduand.gateway.errors import AdapterError, GraduandError
from graduand.gateway.model.routes import Replica, Upstream
from graduand.rollout.spec.names import check_name

LOAD_TIMEOUT_S = 120.0
PROBE_TIMEOUT_S = 5.0
PROBES = ("The capital of France is", "Ticket: I cannot log in.\nQueue:", "def add(a, b):")


class UpstreamUnreachable(GraduandError, ConnectionError):
    """A replica could not be reached or did not speak the expected dialect."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What one replica does with an adapter: whether it lists it, and how far its answers are from the base's.

    `distance` is the largest difference of a next-token log-probability between adapter and base over the probe prompts;
    0 means that the adapter does nothing.
    """

    replica: str
    listed: bool
    distance: float | None
    problem: str | None

    @property
    def applied(self) -> bool:
        """Whether the adapter is there and changes answers."""
        return self.problem is None and self.distance is not None and self.distance > 0


def resolve_name(name: str, path: Path, server: Server) -> str:
    """The immutable name of the adapter at `path`; a digest already given must be the beginning of the real one."""
    files = adapter.read(path)
    if problems := servers.problems(files, server):
        raise AdapterError(f"{path} cannot be served by {server}: {'; '.join(problems)}")
    base, at, digest = check_name(name).partition("@")
    if not at:
        return files.name(base)
    if not files.digest.startswith(digest) and not digest.startswith(files.digest):
        raise AdapterError(
            f"{path} has the digest {files.digest}, not {digest}: it is not the adapter that {name!r} names"
        )
    return name


def server_of(upstream: Upstream) -> Server:
    """The kind of server behind an upstream, as its first replica that answers says; vLLM if none does.

    Raises AdapterError for an upstream onto which no adapter can be put.
    """
    if upstream.kind == "lorax":
        raise AdapterError(
            f"{upstream.name} is of kind lorax, and LoRAX loads an adapter by itself when a request names it; adapters are "
            "added to upstreams of kind vllm"
        )
    if upstream.kind != "vllm":
        raise AdapterError(
            f"{upstream.name} is of kind {upstream.kind}, which has no adapters to load; they are added to upstreams of "
            "kind vllm"
        )
    for replica in upstream.replicas:
        with contextlib.suppress(UpstreamUnreachable):
            owners = {entry.get("owned_by") for entry in listed(upstream, replica, PROBE_TIMEOUT_S).values()}
            return Server.EMBEDDED if owners == {"graduand"} else Server.VLLM
    return Server.VLLM


def load(upstream: Upstream, name: str, path: Path) -> None:
    """Load the adapter on every replica; raise with the replica's own reason if one refuses."""
    for replica in upstream.replicas:
        load_on(upstream, replica, name, path)


def load_on(upstream: Upstream, replica: Replica, name: str, path: Path) -> None:
    """Load the adapter on one replica; it may already be there."""
    body = {"lora_name": name, "lora_path": str(path.resolve())}
    answer = call(upstream, replica, "POST", "/load_lora_adapter", body)
    if answer.status_code >= 400 and name in listed(upstream, replica):
        return
    if answer.status_code == 404 and "Not Found" in reason(answer):
        raise AdapterError(
            f"{replica.url} cannot load adapters at run time; start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
        )
    if answer.status_code >= 400:
        raise AdapterError(f"{replica.url} refused the adapter {name}: {reason(answer)}")


def unload(upstream: Upstream, name: str) -> None:
    """Unload the adapter from every replica; it may be missing there."""
    for replica in upstream.replicas:
        unload_from(upstream, replica, name)


def unload_from(upstream: Upstream, replica: Replica, name: str) -> None:
    """Unload the adapter from one replica; it may be missing there."""
    answer = call(upstream, replica, "POST", "/unload_lora_adapter", {"lora_name": name})
    if answer.status_code >= 400 and answer.status_code != 404:
        raise AdapterError(f"{replica.url} did not unload {name}: {reason(answer)}")


def warm(upstream: Upstream, replica: Replica, name: str) -> None:
    """Have the adapter generate a few tokens, so that no client waits for the engine's first-use work."""
    answer = call(upstream, replica, "POST", "/completions", {"model": name, "prompt": PROBES[0], "max_tokens": 4})
    if answer.status_code != 200:
        raise AdapterError(f"{replica.url} did not answer for {name}: {reason(answer)}")


def listed(upstream: Upstream, replica: Replica, timeout_s: float = LOAD_TIMEOUT_S) -> dict[str, dict[str, Any]]:
    """The models that a replica lists, by id."""
    answer = call(upstream, replica, "GET", "/models", timeout_s=timeout_s)
    if answer.status_code != 200:
        raise UpstreamUnreachable(f"{replica.url} does not list its models: {reason(answer)}")
    return listed_in(answer, replica)


def listed_in(answer: httpx.Response, replica: Replica) -> dict[str, dict[str, Any]]:
    """The models in a replica's list, by id; raises UpstreamUnreachable if it is none."""
    try:
        return {entry["id"]: entry for entry in answer.json().get("data", [])}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UpstreamUnreachable(f"{replica.url} does not list its models as OpenAI does: {error!r}") from error


def verify(upstream: Upstream, name: str) -> list[Proof]:
    """Compare adapter and base on every replica."""
    return [verify_on(upstream, replica, name) for replica in upstream.replicas]


def verify_on(upstream: Upstream, replica: Replica, name: str) -> Proof:
    """Compare adapter and base on one replica."""
    try:
        models = listed(upstream, replica)
        if name not in models:
            return Proof(replica.url, False, None, "the replica does not list it; see graduand adapters list")
        base = models[name].get("parent") or next(key for key, entry in models.items() if not entry.get("parent"))
        distances = [_distance(upstream, replica, base, name, prompt) for prompt in PROBES]
    except (GraduandError, KeyError, StopIteration) as error:
        return Proof(replica.url, False, None, str(error) or "the replica lists no base model")
    distance = max(distances)
    problem = None if distance > 0 else f"it answers exactly like its base {base}: the adapter is not applied"
    return Proof(replica.url, True, distance, problem)


def _distance(upstream: Upstream, replica: Replica, base: str, name: str, prompt: str) -> float:
    of_base, of_adapter = (_next_token(upstream, replica, model, prompt) for model in (base, name))
    shared = of_base.keys() & of_adapter.keys()
    apart = max((abs(of_base[token] - of_adapter[token]) for token in shared), default=float("inf"))
    return float("inf") if of_base.keys() != of_adapter.keys() else apart


def _next_token(upstream: Upstream, replica: Replica, model: str, prompt: str) -> dict[str, float]:
    body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 5}
    answer = call(upstream, replica, "POST", "/completions", body)
    if answer.status_code != 200:
        raise AdapterError(f"{replica.url} did not answer a probe for {model}: {reason(answer)}")
    top = answer.json()["choices"][0]["logprobs"]["top_logprobs"][0]
    return {str(token): float(value) for token, value in top.items()}


def call(
    upstream: Upstream, replica: Replica, method: str, path: str, body: object = None, timeout_s: float = LOAD_TIMEOUT_S
) -> httpx.Response:
    """One call of a replica's API; raises UpstreamUnreachable."""
    try:
        with connection.client(upstream, replica, timeout_s) as client:
            return client.request(method, replica.url + path, json=body)
    except httpx.HTTPError as error:
        way = connection.way(upstream, replica)
        raise UpstreamUnreachable(f"{replica.url} cannot be reached{way}: {error or type(error).__name__}") from error


def reason(answer: httpx.Response) -> str:
    """Why a replica refused, in its own words."""
    try:
        data = answer.json()
    except ValueError:
        return answer.text[:300] or f"status {answer.status_code}"
    error = data.get("error", data) if isinstance(data, dict) else data
    return str(error.get("message", error) if isinstance(error, dict) else error)[:500]
