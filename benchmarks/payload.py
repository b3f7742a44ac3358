"""What is asked and what the upstream answers: the same for every peer.

`USER` stands for the user's name, which the load generator fills in, so that sticky assignment meets many units.
"""

import json
from typing import Any

MODEL = "support-triage"
TEACHER_MODEL = "gpt-4o"
ADAPTER = "support-triage@3f9c1a0b22de"
CLIENT_KEY = "sk-bench-client"
UPSTREAM_KEY = "sk-bench-upstream"
USER = "USER_PLACEHOLDER"

SYSTEM = "You route support tickets. Answer with one queue: billing, access, shipping or other."
TICKET = (
    "Hello, I was charged twice for order 88213 on my card ending 4242. I have already tried to reach you by phone "
    "but the line was busy. Please refund one of the two payments. Thank you."
)


def chat(content: str, **more: Any) -> str:
    """A chat request with `content` as the user's message."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]
    body = {"model": MODEL, "messages": messages, "max_tokens": 64, "temperature": 0, "user": USER, **more}
    return json.dumps(body, separators=(",", ":"))


def small() -> str:
    """A request of about 450 bytes."""
    return chat(TICKET)


def large() -> str:
    """A request whose prompt is 8 kB."""
    return chat((TICKET + "\n") * (8192 // len(TICKET)) + "x" * (8192 % len(TICKET)))


def streamed(pace_ms: int, tokens: int) -> str:
    """A streamed request; the upstream reads from the prompt how fast and how much to answer."""
    return chat(f"pace_ms={pace_ms} tokens={tokens} {TICKET}", stream=True)


def completion() -> str:
    """The upstream's answer: a chat completion of about 400 bytes."""
    message = {"role": "assistant", "content": "billing", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 93, "completion_tokens": 2, "total_tokens": 95}
    body = {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion",
        "created": 1760000000,
        "model": TEACHER_MODEL,
        "choices": [choice],
        "usage": usage,
        "system_fingerprint": "fp_0123456789",
    }
    return json.dumps(body, separators=(",", ":"))


def models() -> str:
    """The upstream's list of models: the teacher's model and the student's adapter."""
    listed = [{"id": name, "object": "model", "created": 1, "owned_by": "bench"} for name in (TEACHER_MODEL, ADAPTER)]
    listed[1] |= {"parent": TEACHER_MODEL, "root": "/adapters/support-triage"}
    return json.dumps({"object": "list", "data": listed}, separators=(",", ":"))
