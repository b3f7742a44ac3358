"""What an upstream says when it is asked for its models: whether it is there, lets the gateway in, and has what routes want.

Asked on purpose (`graduand check --online`), never on a request's way.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from graduand.gateway.adapters import residency
from graduand.gateway.adapters.residency import UpstreamUnreachable
from graduand.gateway.errors import GraduandError, did_you_mean
from graduand.gateway.model.outbound import secrets_of
from graduand.gateway.model.routes import Replica, Upstream

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one replica said. `usable`: nothing speaks against sending requests to it."""

    upstream: str
    replica: str
    usable: bool
    said: str


def find_out(upstream: Upstream, replica: Replica, wanted: Iterable[str], timeout_s: float = TIMEOUT_S) -> Finding:
    """Ask one replica for its models; `wanted` are those that routes ask it for. Never raises for what it answers."""
    try:
        usable, said = _asked(upstream, replica, tuple(wanted), timeout_s)
    except (GraduandError, OSError) as error:
        usable, said = False, str(error).removeprefix(f"{replica.url} ")
    for secret in secrets_of(upstream):
        said = said.replace(secret, "[key]")
    return Finding(upstream.name, replica.url, usable, said)


def _asked(upstream: Upstream, replica: Replica, wanted: tuple[str, ...], timeout_s: float) -> tuple[bool, str]:
    lists = upstream.kind != "lorax"
    answer = residency.call(upstream, replica, "GET", "/models" if lists else "/info", timeout_s=timeout_s)
    status = answer.status_code
    if status in (401, 403):
        return False, f"refuses the key with {status}: {residency.reason(answer)}"
    if status in (404, 405) and upstream.kind != "vllm":
        return True, f"answers, but lists no models here ({status}); is the base URL right?"
    if not 200 <= status < 300:
        return False, f"answers {status}: {residency.reason(answer)}"
    if not lists:
        return True, "answers"
    try:
        models = residency.listed_in(answer, replica)
    except UpstreamUnreachable as error:
        return False, str(error)
    has, said = _has(models, wanted)
    return has or upstream.kind != "vllm", said  # a vendor may serve what it does not list, such as a deployment


def _has(models: Iterable[str], wanted: tuple[str, ...]) -> tuple[bool, str]:
    there = set(models)
    missing = [
        one for one in wanted if one not in there and f"models/{one}" not in there
    ]  # Gemini's lists have a prefix
    says = f"lists {len(there)} model{'' if len(there) == 1 else 's'}"
    if not missing:
        return True, f"{says}{', among them ' + ', '.join(wanted) if wanted else ''}"
    hints = "".join(did_you_mean(one, there) for one in missing)
    return False, f"{says}, but not {', '.join(missing)}, which routes ask it for.{hints}"
