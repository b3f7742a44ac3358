"""Redaction: what was planted is nowhere in the written bytes, JSON stays JSON, and doing it again changes nothing."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.gateway.config.read import parse
from graduand.gateway.errors import ConfigError
from graduand.gateway.logs.patterns import KINDS, own
from graduand.gateway.logs.redaction import PRESIDIO_MODELS, Redactor
from graduand.gateway.logs.segment import LogWriter
from graduand.gateway.model.recording import Pattern, RecordPolicy
from tests.gateway.logs.lines import made

FILE = {
    "upstreams": {"u": {"kind": "openai", "base_urls": ["http://127.0.0.1:1/v1"]}},
    "routes": {"r": {"teacher": {"upstream": "u", "model": "m"}}},
}
ALL = Redactor(RecordPolicy(redact=(*KINDS, Pattern("order", r"ORD-\d+"))))

FOUND = [
    ("write to ann.o'neil+x@mail.example.co.uk!", "write to [redacted:email]!"),
    ("jürgen@müller.example", "[redacted:email]"),
    ("call +49 (171) 123-4567 or 415-555-0100", "call [redacted:phone] or [redacted:phone]"),
    ("030 1234567, please", "[redacted:phone], please"),
    ("card 4111 1111 1111 1111 12 of them", "card [redacted:card] 12 of them"),
    ("visa4111111111111111x", "visa[redacted:card]x"),
    ("5500-0000-0000-0004 and 4111-1111-1111-1112", "[redacted:card] and 4111-1111-1111-1112"),
    ("DE89 3704 0044 0532 0130 00 then more", "[redacted:iban] then more"),
    ("gb82west12345698765432.", "[redacted:iban]."),
    ("DE88 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
    ("from 10.0.0.1 and fe80::1:2 at 12:30:45", "from [redacted:ip] and [redacted:ip] at 12:30:45"),
    ("std::vector, a::b, 2026-11-22, 3.14, v1.2.3", "std::vector, a::b, 2026-11-22, 3.14, v1.2.3"),
    ("OPENAI_API_KEY=sk-proj-abcdefghijklmnop_1", "OPENAI_API_KEY=[redacted:secret]"),
    ("AKIAIOSFODNN7EXAMPLE", "[redacted:secret]"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[redacted:secret]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "[redacted:secret]"),
    ("postgres://app:hunter2@db/x", "postgres[redacted:secret]db/x"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY----- ok", "[redacted:secret] ok"),
    ("-----BEGIN PRIVATE KEY-----\nMIIE\ncut of", "[redacted:secret]"),
    ("order ORD-1234 is late", "order [redacted:order] is late"),
    ("risk-management-platform-task-runner", "risk-management-platform-task-runner"),
    ("a mark that hides [redacted:sk-abcdefghijklmnopqrstuv]", "a mark that hides [redacted:[redacted:secret]]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), FOUND)
def test_what_is_found(text: str, wanted: str) -> None:
    assert ALL.text(text) == wanted
    assert ALL.text(wanted) == wanted


def redacted(record: dict[str, Any]) -> dict[str, Any]:
    line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    return dict(orjson.loads(ALL.line(line)[0]))


def with_payloads(request: Any, response: Any, **more: Any) -> dict[str, Any]:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    data = request if isinstance(request, dict) else {}
    answer = response if isinstance(response, str | None) else json.dumps(response)
    return made(1, request_body=body, request=data, response_json=answer, **more)


def test_spans_say_what_was_found_where_and_never_what_it_was() -> None:
    request = {"messages": [{"role": "user", "content": "ann@example.com, bob@example.com"}], "ann@example.com": 1}
    one = redacted(with_payloads(request, {"choices": [{"message": {"content": "10.0.0.1"}}]}))
    assert one["redaction"]["policy"] == "email,phone,card,iban,ip,secret,order"
    assert sorted(one["redaction"]["spans"], key=lambda span: str(span["where"])) == [
        {"kind": "email", "where": "request.*", "count": 1},
        {"kind": "email", "where": "request.messages[0].content", "count": 2},
        {"kind": "ip", "where": "response.choices[0].message.content", "count": 1},
    ]
    assert "example.com" not in json.dumps(one)


def test_texts_in_pieces() -> None:
    """Tokens, alternatives, parts of a message, JSON inside a text: a secret is found across their borders."""
    secret = "sk-proj-abcdefghijklmnop"
    tokens = ["my key: ", "sk", "-proj", "-abcdefgh", "ijklmnop", " ok"]
    logprobs = {"content": [
        {"token": token, "bytes": list(token.encode()), "logprob": -0.1,
         "top_logprobs": [{"token": token, "bytes": None, "logprob": -0.1}]} for token in tokens]}  # fmt: skip
    old = {"tokens": tokens, "token_logprobs": [-0.1] * 6, "top_logprobs": [{token: -0.1} for token in tokens],
           "text_offset": [0] * 6}  # fmt: skip
    parts = [{"type": "text", "text": "it is sk-proj-abc"}, {"type": "text", "text": "defghijklmnop"}]
    arguments = json.dumps({"key": "ann\\u0040example.com"}).replace("\\\\u", "\\u")
    call = {"function": {"name": "f", "arguments": arguments}}
    one = redacted(with_payloads(
        {"messages": [{"role": "user", "content": parts}]},
        {"choices": [{"message": {"content": "x", "tool_calls": [call]}, "logprobs": logprobs}, {"logprobs": old}]},
    ))  # fmt: skip
    asked, said = json.loads(one["request_json"]), json.loads(one["response_json"])
    assert [part["text"] for part in asked["messages"][0]["content"]] == ["it is [redacted:secret]", ""]
    chat, completion = (choice["logprobs"] for choice in said["choices"])
    assert "".join(one["token"] for one in chat["content"]) == "my key: [redacted:secret] ok"
    assert [top["logprob"] for one in chat["content"] for top in one["top_logprobs"]] == [-0.1] * 6
    assert "".join(completion["tokens"]) == "my key: [redacted:secret] ok"
    assert [list(top.values()) for top in completion["top_logprobs"]] == [[-0.1]] * 6
    assert json.loads(said["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]) == {
        "key": "[redacted:email]"
    }
    for piece in (secret[8:], "-abcdefgh", "ijklmnop", "ann"):
        assert piece not in json.dumps(one)


def test_what_json_can_hide() -> None:
    """Escapes, a key given twice, numbers; and a payload that is no JSON is not kept."""
    body = b'{"messages":[{"role":"user","content":"ann\\u0040example.com"}],"a":"bob@example.com","a":1,"n":4111111111111111}'
    one = redacted(with_payloads(body, "no json: ann@example.com"))
    assert json.loads(one["request_json"]) == {
        "messages": [{"role": "user", "content": "[redacted:email]"}], "a": 1, "n": "[redacted:card]",
    }  # fmt: skip
    assert one["response_json"] is None
    assert {"kind": "unreadable", "where": "response", "count": 1} in one["redaction"]["spans"]
    deep = b'{"messages":' + b"[" * 900 + b'"ann@example.com"' + b"]" * 900 + b"}"
    one = redacted(with_payloads(deep, None))
    assert "ann@" not in json.dumps(one)


def test_the_prompts_hash_is_of_what_may_be_read() -> None:
    hashes = {redacted(with_payloads({"prompt": f"pin of {name}@example.com"}, None))["prompt_sha256"] for name in "ab"}
    assert len(hashes) == 1
    plain = with_payloads({"prompt": "hello"}, None)
    assert redacted(plain)["prompt_sha256"] == plain["prompt_sha256"]
    sampled = made(1, record_bp=0)
    assert sampled["request_json"] is None
    assert redacted(sampled)["prompt_sha256"] is None


def test_other_fields_are_looked_at_too() -> None:
    one = redacted(made(1, error="no route to 10.1.2.3", attempts=[{"outcome": "ann@example.com"}]))
    assert (one["error"], one["attempts"]) == ("no route to [redacted:ip]", [{"outcome": "[redacted:email]"}])


def test_what_the_gateway_counts_is_left_alone() -> None:
    """A number can look like a card's or a telephone's: the columns would lose it."""
    attempt = {
        "upstream": "u", "arm": "teacher", "replica": "http://10.0.0.7:8000/v1", "outcome": "ok", "ms": 4111.111111111111,
        "model": "m", "span_id": "4111111111111111", "ended_at": 1795439964.2441125,
    }  # fmt: skip
    verdict = {"name": "label", "version": "1", "score": 0.4111111111111111, "label": "pass",
               "latency_ms": 9.4111111111111111, "action": "none"}  # fmt: skip
    own = {"attempts": [attempt], "verdicts": [verdict], "parent_span_id": "4111111111111111", "trace_sampled": True}
    one = redacted(made(1, **json.loads(json.dumps(own))))
    assert {name: one[name] for name in own} == own
    assert (
        redacted(made(1, verdicts=[{**verdict, "label": "ann@example.com"}]))["verdicts"][0]["label"]
        == "[redacted:email]"
    )


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda one: not one.is_integer()))
def test_fractions_are_no_cards(number: float) -> None:
    """Log probabilities and embeddings: an answer whose numbers are gone teaches no threshold."""
    answer = {
        "choices": [{"logprobs": {"content": [{"token": "a", "logprob": number}]}}],
        "data": [{"embedding": [number]}],
    }
    assert redacted(made(1, response_json=json.dumps(answer)))["response_json"] == orjson.dumps(answer).decode()


def test_a_card_among_numbers_is_found() -> None:
    answer = redacted(made(1, response_json='{"a":[4111111111111111,4111111111111111.0]}'))["response_json"]
    assert answer == '{"a":["[redacted:card]","[redacted:card].0"]}'


SECRETS = st.one_of(
    st.from_regex(r"[a-z]{3,8}\.[a-z]{3,8}@[a-z]{3,9}\.(com|org)", fullmatch=True),
    st.from_regex(r"sk-[A-Za-z0-9]{20,40}", fullmatch=True),
    st.from_regex(r"ghp_[A-Za-z0-9]{36}", fullmatch=True),
    st.from_regex(r"AKIA[0-9A-Z]{16}", fullmatch=True),
    st.from_regex(r"\+49171[0-9]{7}", fullmatch=True),
    st.sampled_from(["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"]),
    st.sampled_from(["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "FR1420041010050500013M02606"]),
    st.sampled_from(["192.168.17.45", "2001:db8::8a2e:370:7334"]),
    st.from_regex(r"ORD-[0-9]{4,8}", fullmatch=True),
)
# Letters, blanks and punctuation of any script; digits beside a number would be part of it.
AROUND = st.text(st.characters(exclude_categories=["Cs", "N", "L"], exclude_characters="@._%+'-:/()"), max_size=12)
LETTERS = st.text(st.characters(categories=["L", "Zs", "Po"], exclude_characters="@._%+'-:/()"), max_size=12)


def json_with(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(LETTERS, inner, min_size=1, max_size=3),
        max_leaves=8,
    )


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_planted_secret_survives(data: Any) -> None:
    secret, before, after = data.draw(SECRETS), data.draw(AROUND), data.draw(AROUND)
    text = f"{data.draw(LETTERS)} {before} {secret} {after} {data.draw(LETTERS)}"
    forms = st.sampled_from([text, json.dumps({"a": text}), f"{secret}\n", [secret, "x"], {text: 1}])
    payload = {"messages": data.draw(json_with(forms)), "model": "m"}
    escaped = json.dumps(payload, ensure_ascii=data.draw(st.booleans())).encode()
    record = made(1, request_body=escaped, request=payload, response_json=escaped.decode(), error=text)
    once, _, spans = ALL.line(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    assert spans >= 3
    assert once.count(b"\n") == 1
    row = orjson.loads(once)
    written = json.dumps([row, json.loads(row["request_json"]), json.loads(row["response_json"])], ensure_ascii=False)
    for form in (secret, json.dumps(secret)[1:-1]):
        assert form.encode() not in once
        assert form not in written
    assert shape(json.loads(row["request_json"])) == shape(payload)
    again = orjson.loads(ALL.line(once)[0])
    for name in ("request_json", "response_json", "prompt_sha256", "error"):
        assert again[name] == row[name]


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return [shape(one) for one in value.values()]
    return [shape(one) for one in value] if isinstance(value, list) else type(value).__name__


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
def test_any_text_is_redacted_once(text: str) -> None:
    once = ALL.text(text)
    assert ALL.text(once) == once


@settings(deadline=None, max_examples=100)
@given(st.text(st.sampled_from("4 1-+0DE89@a.:/(sk_"), max_size=200))
def test_any_text_of_what_patterns_look_for(text: str) -> None:
    once = ALL.text(text)
    assert ALL.text(once) == once


def test_nothing_reaches_the_disk_before_it_is_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte below the spool, while the worker runs and after it."""
    monkeypatch.setattr("graduand.gateway.logs.places.MEMORY", tmp_path / "memory")
    (tmp_path / "memory").mkdir()
    spool = tmp_path / "spool"
    writer = LogWriter(spool, policy=RecordPolicy(redact=("email",)))
    for number in range(50):
        writer.append(made(number, request_body=b'{"messages": "ann%d@example.com"}' % number))
        assert b"example.com" not in b"".join(path.read_bytes() for path in spool.rglob("*") if path.is_file())
    writer.close()
    written = b"".join(path.read_bytes() for path in spool.rglob("*") if path.is_file())
    assert b"example.com" not in written
    assert written.count(b"[redacted:email]") == 50
    assert writer.redactions == {"tickets": 50}


REFUSED = [
    ({"redact": ["emails"]}, r"record.redact: there is no kind 'emails'. Did you mean 'email'"),
    (
        {"redact": [{"name": "x", "pattern": r"(a+)+\1"}]},
        r"record.redact: the pattern of 'x' cannot be used.*look-around",
    ),
    ({"redact": [{"name": "x", "pattern": r"(?=a)b"}]}, r"the pattern of 'x' cannot be used"),
    ({"redact": [{"name": "x", "pattern": r"a*"}]}, r"the pattern of 'x' matches the empty text"),
    ({"presidio": True}, r"record.presidio: it is not installed; install graduand\[presidio\]"),
]


@pytest.mark.parametrize(("section", "words"), REFUSED)
def test_policies_that_are_refused(section: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(ConfigError, match=words):
        parse({**FILE, "record": section}, where="test.yaml", environ={})


def test_presidio_finds_what_has_no_form() -> None:
    spacy = pytest.importorskip("spacy", reason="Presidio is not installed (graduand[presidio])")
    if not any(spacy.util.is_package(name) for name in PRESIDIO_MODELS):
        pytest.skip("Presidio has no English model here")
    redactor = Redactor(RecordPolicy(presidio=True))
    assert "David" not in redactor.text("My name is David Johnson and I live in Boston.")
    assert redactor.text("the printer is out of paper") == "the printer is out of paper"


def test_presidio_without_a_model_downloads_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("presidio_analyzer", "presidio_analyzer.nlp_engine", "spacy", "spacy.util"):
        monkeypatch.setitem(sys.modules, name, _Library(name))
    with pytest.raises(ConfigError, match=r"record.presidio: it has no language model; run python -m spacy download"):
        parse({**FILE, "record": {"presidio": True}}, where="test.yaml", environ={})


class _Library(ModuleType):
    """Presidio and spaCy without any model: whoever makes an engine all the same would go to the network."""

    AnalyzerEngine = NlpEngineProvider = None

    @staticmethod
    def is_package(name: str) -> bool:
        return False


def test_no_pattern_takes_for_ever() -> None:
    """(a+)+b on many a's takes exponential time where matches are searched by trying."""
    kind = own("evil", r"(a+)+b|(\w+\s?)*!")
    assert list(kind.spans("a" * 50_000)) == []
