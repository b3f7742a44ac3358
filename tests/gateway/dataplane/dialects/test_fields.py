"""Fields that APIs call by different names reach each upstream by the name that it knows, and docs/lorax.md says so."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from graduand.gateway.dataplane.dialects import lorax, openai
from graduand.gateway.dataplane.dialects.chat import CHAT
from graduand.gateway.dataplane.dialects.lorax import FOLLOWED, GENERATE, PARAMETERS
from tests.gateway.targets import addressee

PAGE = Path(__file__).parents[4] / "docs/lorax.md"
KINDS = ("lorax", "vllm", "openai")
USER = [{"role": "user", "content": "hi"}]


def table() -> str:
    """The table of docs/lorax.md."""
    rows = ["| a client's | to LoRAX | to vLLM | to an upstream that only chats |", "|---|---|---|---|"]
    for name, known in PARAMETERS.items():
        rows.append(
            f"| `parameters.{name}` | " + " | ".join(f"`{one}`" if one else "taken out" for one in known) + " |"
        )
    rows += [
        f"| `parameters.{name}` | the gateway's own | the gateway's own | the gateway's own |" for name in FOLLOWED
    ]
    for new, old in openai.OLD_NAMES.items():
        rows.append(f"| `{new}` on OpenAI's routes | `{old}` besides, if it is not there | as it came | as it came |")
    for name in sorted(openai.LORAX_ADAPTERS):
        rows.append(f"| `{name}` on OpenAI's routes | taken out | as it came | as it came |")
    return "\n".join(rows)


def test_the_page_says_what_is_done() -> None:
    assert table() in PAGE.read_text(), f"put this into {PAGE.name}:\n{table()}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_lorax(name: str, kind: str) -> None:
    value: Any = ["x"] if name == "stop" else 1
    body = orjson.dumps({"inputs": "hi", "parameters": {"adapter_id": "r", "unheard_of": 1, name: value}})
    sent = orjson.loads(GENERATE.sending(body, GENERATE.parse(body), addressee("m", kind), scored=False).body)
    wanted = getattr(PARAMETERS[name], kind)
    usual = {"model", "prompt", "messages", "temperature"}
    assert sent.keys() - usual == {wanted} - {""} - usual
    assert not wanted or sent[wanted] == value


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_asked_for_as_the_upstream_knows_it(kind: str) -> None:
    schema = {"type": "object"}
    form = {"type": "json_object", "schema": schema}
    body = orjson.dumps({"inputs": "hi", "parameters": {"adapter_id": "r", "response_format": form}})
    sent = orjson.loads(lorax.translated(GENERATE.parse(body), addressee("m", kind)).body)["response_format"]
    assert sent == (
        form if kind == "lorax" else {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("new", "old"), openai.OLD_NAMES.items())
def test_names_that_lorax_does_not_know(new: str, old: str, kind: str) -> None:
    data = {"model": "r", "messages": USER, new: 7}
    sent = orjson.loads(CHAT.sending(orjson.dumps(data), data, addressee("m", kind), scored=False).body)
    assert sent == {**data, "model": "m", **({old: 7} if kind == "lorax" else {})}
    both = {**data, old: 5}
    sent = orjson.loads(CHAT.sending(orjson.dumps(both), both, addressee("m", kind), scored=False).body)
    assert sent[old] == 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(openai.LORAX_ADAPTERS))
def test_fields_that_would_choose_an_adapter(name: str, kind: str) -> None:
    data = {"model": "r", "messages": USER, name: "x", "unheard_of": 1}
    sent = orjson.loads(CHAT.sending(orjson.dumps(data), data, addressee("m", kind), scored=False).body)
    assert (name in sent) is (kind != "lorax")
    assert sent["unheard_of"] == 1
