"""Log probabilities on a hybrid route: asked of the student, looked at, and taken out again if the client wants none.

Invariant: a client sees the log probabilities that it asked for and no others, whoever asked for more.
"""

from typing import Any

Json = dict[str, Any]
# Two alternatives are enough for a margin; many slow servers down.
TOP = 2


def strip(answer: Json, keep: int) -> bool:
    """Take out of an answer or a chunk what the client did not ask for; whether anything was there.

    `keep`: how many alternatives the client asked for; -1 if no log probabilities at all.
    """
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
