"""Log probabilities on a hybrid route: asked of the student, looked at, and taken out again if the client wants none.

Invariant: a client sees the log probabilities that it asked for and no others, whoever asked for more.
"""

from typing import Any

from graduand.gateway.dataplane.dialects import jsonedit, wire
from graduand.gateway.dataplane.targets import Target

Json = dict[str, Any]
# Two alternatives are enough for a margin; many slow servers down.
TOP = 2


def possible(endpoint: wire.Endpoint, target: Target, data: Json) -> bool:
    """Whether log probabilities of one whole answer can be had for this request."""
    one = data.get("n") in (None, 1) and data.get("best_of") in (None, 1)
    return one and not target.lorax and (endpoint is wire.CHAT or endpoint is wire.COMPLETIONS)


def asking(body: bytes, data: Json, endpoint: wire.Endpoint) -> bytes:
    """The request with enough log probabilities asked for."""
    if wanted(data, endpoint) >= TOP:
        return body
    if endpoint is wire.COMPLETIONS:
        return jsonedit.set_member(body, "logprobs", b"%d" % TOP)
    return jsonedit.set_member(jsonedit.set_member(body, "logprobs", b"true"), "top_logprobs", b"%d" % TOP)


def wanted(data: Json, endpoint: wire.Endpoint) -> int:
    """How many alternatives the client asked for; -1 if no log probabilities at all."""
    asked, top = data.get("logprobs"), data.get("top_logprobs")
    if endpoint is wire.COMPLETIONS:
        return asked if type(asked) is int else -1
    if asked is not True:
        return -1
    return top if type(top) is int else 0


def strip(answer: Json, keep: int) -> bool:
    """Take out of an answer or a chunk what the client did not ask for; whether anything was there."""
    choices, changed = answer.get("choices"), False
    if keep >= TOP or type(choices) is not list:
        return False
    for choice in choices:
        if type(choice) is not dict or choice.get("logprobs") is None:
            continue
        changed = True
        if keep < 0:
            choice["logprobs"] = None
        else:
            _cut(choice["logprobs"], keep)
    return changed


def _cut(logprobs: Any, keep: int) -> None:
    if type(logprobs) is not dict:
        return
    content, tops = logprobs.get("content"), logprobs.get("top_logprobs")
    if type(content) is list:
        for token in content:
            if type(token) is dict and type(token.get("top_logprobs")) is list:
                token["top_logprobs"] = token["top_logprobs"][:keep]
    if type(tops) is list:
        logprobs["top_logprobs"] = (
            [dict(list(top.items())[:keep]) if type(top) is dict else top for top in tops] if keep else None
        )
