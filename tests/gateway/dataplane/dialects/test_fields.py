"""Fields that APIs call by different names reach each upstream by the name that it knows, and docs/lorax.md says so."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from graduand.gateway.dataplane.dialects import lorax, openai
from graduand.gateway.dataplane.dialects.chat import CHAT
from graduand.gateway.dataplane.dialects.completions import COMPLETIONS
from graduand.gateway.dataplane.dialects.dialect import Dialect
from graduand.gateway.dataplane.dialects.lorax import FOLLOWED, GENERATE, PARAMETERS
from tests.gateway.targets import addressee

PAGE = Path(__file__).parents[4] / "docs/lorax.md"
KINDS = ("lorax", "vllm", "openai")
USER = [{"role": "user", "content": "hi"}]


def sent(path: Dialect, data: dict[str, Any], kind: str) -> dict[str, Any]:
    """What an upstream of this kind gets."""
    body: dict[str, Any] = orjson.loads(path.sending(orjson.dumps(data), data, addressee("m", kind), scored=False).body)
    return body


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
    for new, old in openai.LORAX_NAMES.items():
        rows.append(f"| `{new}` on OpenAI's routes | `{old}` besides, if it is not there | as it came | as it came |")
    for new, old in openai.VLLM_NAMES.items():
        rows.append(f"| `{new}` on OpenAI's routes | as it came | `{old}` besides, if it is not there | as it came |")
    schemas = "`{type: json_object, schema: …}`", "`{type: json_schema, json_schema: {schema: …}}`"
    rows.append(f"| `response_format` with a schema on OpenAI's routes | {schemas[0]} | {schemas[1]} | {schemas[1]} |")
    rows.append("| `response_format: {type: text}` on OpenAI's routes | taken out | as it came | as it came |")
    rows.append("| `stop` on OpenAI's routes | a text is made a list | as it came | as it came |")
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
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    ("new", "old", "by"),
    [
        *((new, old, "lorax") for new, old in openai.LORAX_NAMES.items()),
        *((new, old, "vllm") for new, old in openai.VLLM_NAMES.items()),
    ],
)
def test_names_that_others_do_not_know(path: Dialect, new: str, old: str, by: str, kind: str) -> None:
    data = {"model": "r", "messages": USER, "prompt": "hi", new: 7}
    assert sent(path, data, kind) == {**data, "model": "m", **({old: 7} if kind == by else {})}
    assert sent(path, {**data, old: 5}, kind)[old] == 5


SCHEMA = {"type": "object"}
OPENAIS = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
LORAXS = {"type": "json_object", "schema": SCHEMA}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("written", "to_lorax", "to_others"),
    [
        (OPENAIS, LORAXS, OPENAIS),
        (LORAXS, LORAXS, OPENAIS),
        ({"type": "json_object"}, {"type": "json_object"}, {"type": "json_object"}),
        ({"type": "text"}, None, {"type": "text"}),
        (None, None, None),
        ("odd", "odd", "odd"),
        ({"type": "json_schema"}, {"type": "json_schema"}, {"type": "json_schema"}),
    ],
)
def test_formats_on_openais_routes(written: Any, to_lorax: Any, to_others: Any, kind: str) -> None:
    data = {"model": "r", "messages": USER, "response_format": written, "n": 1}
    wanted = to_lorax if kind == "lorax" else to_others
    got = sent(CHAT, data, kind)
    assert got.get("response_format") == wanted
    assert got["n"] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(openai.LORAX_ADAPTERS))
def test_fields_that_would_choose_an_adapter(name: str, kind: str) -> None:
    data = {"model": "r", "messages": USER, name: "x", "unheard_of": 1}
    sent = orjson.loads(CHAT.sending(orjson.dumps(data), data, addressee("m", kind), scored=False).body)
    assert (name in sent) is (kind != "lorax")
    assert sent["unheard_of"] == 1
