"""Each check over whole choices: what triggers it, and what must not."""

import json
from typing import Any

import pytest

from graduand.monitoring.checks.answer import Choice, choices_of
from graduand.monitoring.checks.check import Check
from graduand.monitoring.checks.written import read
from graduand.rollout.answers import tasks

LABELS = tasks.read({"kind": "label", "labels": ["billing", "shipping"], "aliases": {"invoices": "billing"}})
FIELD = tasks.read({"kind": "label", "labels": ["0", "1"], "field": "is_bad"})
SCHEMA = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}
PROSE = (
    "Your parcel left our warehouse on Monday and reached the sorting centre in Leipzig a day later. From there it takes "
    "two working days on average. If it has not arrived by Friday, please write to us again and we will send another one "
    "at no cost; you need not return the first should it turn up after all. We know that this is not what you hoped for."
)
TABLE = "\n".join(f"| {number} | order {number * 7919} | {number * 31 % 97}.50 EUR | shipped |" for number in range(60))
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"


def check(written: Any, task: tasks.Task | None = None) -> Check:
    [armed] = read([written], task)
    return armed.check


WITH_SCHEMA = tasks.read({"kind": "json", "schema": SCHEMA})

CASES: list[tuple[Any, Any, str, str]] = [
    ("not_empty", None, "", "empty"),
    ("not_empty", None, " \n\t\u2003", "empty"),
    ("not_empty", None, "0", "pass"),
    ("label", LABELS, "billing", "pass"),
    ("label", LABELS, " Billing.\n", "pass"),
    ("label", LABELS, "INVOICES", "pass"),
    ("label", LABELS, "The final answer is: **shipping**", "pass"),
    ("label", LABELS, "```\nbilling\n```", "pass"),
    ("label", LABELS, "billing or shipping", "no_label"),
    ("label", LABELS, "I cannot help with that.", "no_label"),
    ("label", LABELS, "", "no_label"),
    ("label", LABELS, "billing" + " " * 3000, "no_label"),
    ("label", FIELD, '{"is_bad": 1}', "pass"),
    ("label", FIELD, '{"is_good": 1}', "no_label"),
    ("label", FIELD, "1", "no_label"),
    ("json", None, '{"a": 1}', "pass"),
    ("json", None, "[1, 2]", "pass"),
    ("json", None, '```json\n{"a": 1}\n```', "pass"),
    ("json", None, 'Here it is: {"a": 1}', "not_json"),
    ("json", None, "{'a': 1}", "not_json"),
    ("json", None, '{"a": 1', "not_json"),
    ("json", None, "", "not_json"),
    ("json", None, "[" * 100_000, "not_json"),
    ("json", None, '"' + "a" * (1 << 18) + '"', "too_long"),
    ({"json": {"schema": SCHEMA}}, None, '{"total": 1.5, "more": null}', "pass"),
    ({"json": {"schema": SCHEMA}}, None, '{"total": "1.5"}', "schema"),
    ({"json": {"schema": SCHEMA}}, None, "[]", "schema"),
    ("json", WITH_SCHEMA, "{}", "schema"),
    ("json", WITH_SCHEMA, '{"total": 2}', "pass"),
    ({"json": {"schema": {}}}, WITH_SCHEMA, "{}", "pass"),
    ("refusal", None, "I'm sorry, but I can't help with that.", "refusal"),
    ("refusal", None, "  **I’m sorry, but I cannot assist with that request.**", "refusal"),
    ("refusal", None, "As an AI language model, I do not have opinions.", "refusal"),
    ("refusal", None, "I am unable to provide medical advice.", "refusal"),
    ("refusal", None, "Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.", "refusal"),
    ("refusal", None, "Je suis désolé, mais je ne peux pas vous aider.", "refusal"),
    ("refusal", None, "Lo siento, pero no puedo ayudar con eso.", "refusal"),
    ("refusal", None, "Desculpe, mas não posso ajudar com isso.", "refusal"),
    ("refusal", None, "Mi dispiace, ma non posso aiutarti.", "refusal"),
    ("refusal", None, "抱歉,我无法帮助你。", "refusal"),
    ("refusal", None, "申し訳ありませんが、その質問にはお答えできません。", "refusal"),
    ("refusal", None, "Извините, но я не могу помочь с этим.", "refusal"),
    ("refusal", None, "I'm sorry that your order is late. It left on Monday.", "pass"),
    ("refusal", None, "I can't help but admire your patience.", "pass"),
    ("refusal", None, "I am unable to find order 17; is the number right?", "pass"),
    ("refusal", None, "Press Enter. If it says 'I cannot help with that', restart it.", "pass"),
    ("refusal", None, PROSE, "pass"),
    ("repetition", None, "I am sorry about that. " * 30, "repeated"),
    ("repetition", None, PROSE + " and so on" * 400, "repeated"),
    ("repetition", None, "对不起我不知道" * 60, "repeated"),
    ("repetition", None, "ha" * 200, "repeated"),
    ("repetition", None, "no " * 20, "pass"),
    ("repetition", None, PROSE, "pass"),
    ("repetition", None, TABLE, "pass"),
    ("repetition", None, json.dumps([{"id": n, "name": f"item {n}", "price": n * 1.5} for n in range(80)]), "pass"),
    ("email", None, "write to ann.o'hara+x@mail.example.co.uk today", "email"),
    ("email", None, "a@b", "pass"),
    ("email", None, "@channel meet at 5@noon", "pass"),
    ("phone", None, "call +49 (0)30 1234-5678", "phone"),
    ("phone", None, "call (555) 123-4567 now", "phone"),
    ("phone", None, "order 5551234567 of 2024-11-22", "pass"),
    ("phone", None, "+1 or +2", "pass"),
    ("card", None, "paid with 4242 4242 4242 4242.", "card"),
    ("card", None, "paid with 378282246310005", "card"),
    ("card", None, "order 4242 4242 4242 4241", "pass"),
    ("card", None, "9" * 40, "pass"),
    ("card", None, "id a4242424242424242", "pass"),
    ("iban", None, "IBAN: DE89 3704 0044 0532 0130 00, BIC …", "iban"),
    ("iban", None, "GB82WEST12345698765432", "iban"),
    ("iban", None, "DE88 3704 0044 0532 0130 00", "pass"),
    ("secret", None, "key: sk-proj-abcdefghijklmnopqrstuvwxyz", "secret"),
    ("secret", None, "AKIAIOSFODNN7EXAMPLE", "secret"),
    ("secret", None, "ghp_" + "a1" * 18, "secret"),
    ("secret", None, f"token {JWT}", "secret"),
    ("secret", None, "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", "secret"),
    ("secret", None, "a task-force, a risk-free desk-", "pass"),
    ({"language": "en"}, None, PROSE, "pass"),
    ({"language": "de"}, None, PROSE, "en"),
    ({"language": "en"}, None, "Ваш заказ был отправлен вчера и прибудет завтра.", "script"),
    ({"language": "ja"}, None, "ご注文の商品は昨日発送されました。明日到着する予定です。", "pass"),
    ({"language": "en"}, None, "OK", "pass"),
    ({"language": "en"}, None, "def f(x): return [y for y in x]", "pass"),
    ({"max_length": 5}, None, "12345", "pass"),
    ({"max_length": 5}, None, "123456", "too_long"),
]


@pytest.mark.parametrize(("written", "task", "text", "label"), CASES, ids=[f"{c[0]}-{c[2][:24]}" for c in CASES])
def test_text(written: Any, task: tasks.Task | None, text: str, label: str) -> None:
    finding = check(written, task).judge(Choice(text, "stop"))
    assert finding.label == label
    assert finding.triggered == (label != "pass")


@pytest.mark.parametrize(
    ("written", "choice", "label"),
    [
        ("truncated", Choice("to be contin", "length"), "length"),
        ("truncated", Choice("done", "stop"), "pass"),
        ("not_empty", Choice("", "tool_calls", "", ("{}",)), "pass"),
        ("not_empty", Choice("", "stop", "I can't."), "pass"),
        ("not_empty", Choice("", shows=True), "pass"),
        ("refusal", Choice("", "stop", "I can't."), "refusal"),
        ("json", Choice("", "tool_calls", "", ('{"city": "Ulm"}', "")), "pass"),
        ("json", Choice("", "tool_calls", "", ('{"city": "Ulm',)), "arguments"),
        ("json", Choice("not json", "tool_calls", "", ("{}",)), "not_json"),
        ("secret", Choice("", "tool_calls", "", ('{"key": "AKIAIOSFODNN7EXAMPLE"}',)), "secret"),
    ],
)
def test_what_is_no_text(written: str, choice: Choice, label: str) -> None:
    assert check(written).judge(choice).label == label


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        ({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}, [Choice("a", "stop")]),
        ({"choices": [{"message": {"content": None, "refusal": "no"}}]}, [Choice("", "", "no")]),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}, 3]}}]}, [Choice("ab")]),
        (
            {"choices": [{"message": {"content": "", "tool_calls": [{"function": {"arguments": "{}"}}, {}, None]}}]},
            [Choice("", "", "", ("{}", "", ""))],
        ),
        ({"choices": [{"text": "a"}, {"text": "b", "finish_reason": "length"}]}, [Choice("a"), Choice("b", "length")]),
        ({"choices": [{"message": {"content": 3, "tool_calls": "x"}}, None, 3]}, [Choice("")]),
        ({"choices": [{"message": {"content": "\n", "reasoning_content": "so"}}]}, [Choice("\n", shows=True)]),
        (
            {"choices": [{"message": {"content": None, "reasoning_details": [{"text": "so"}]}}]},
            [Choice("", shows=True)],
        ),
        ({"choices": [{"message": {"content": None, "reasoning_details": []}}]}, [Choice("")]),
        ({"choices": [{"message": {"content": [{"type": "thinking", "thinking": []}]}}]}, [Choice("", shows=True)]),
        ({"choices": [{"message": {"content": [{"type": "text", "text": ""}]}}]}, [Choice("")]),
        ({"choices": [{"message": {"content": "", "images": [{"url": "x"}]}}]}, [Choice("", shows=True)]),
        ({"choices": [{"message": {"content": " ", "audio": {"data": "AA"}}}]}, [Choice(" ", shows=True)]),
        (
            {"choices": [{"message": {"content": " ", "function_call": {"name": "f", "arguments": "{}"}}}]},
            [Choice(" ", "", "", ("{}",))],
        ),
        ({"choices": {}}, []),
        ({"data": [{"embedding": [0.5]}]}, []),
    ],
)
def test_choices(answer: Any, seen: list[Choice]) -> None:
    assert [plain(one) for one in choices_of(answer)] == [plain(one) for one in seen]


def plain(choice: Choice) -> tuple[object, ...]:
    return choice.text, choice.finish, choice.refusal, choice.arguments


def test_an_echoed_prompt_is_not_judged() -> None:
    [choice] = choices_of({"choices": [{"text": "prompt: answer"}]}, "prompt: ")
    assert choice.text == "answer"
