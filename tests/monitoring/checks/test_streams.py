"""The stream's side: for any chunking of the same text, the verdicts are those of the whole answer, and what begins in the
held part of a window never leaves before it is known to be harmless."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from graduand.gateway.dataplane.dialects.answers import StreamReader
from graduand.gateway.dataplane.window import HOLD_ALL, Window
from graduand.monitoring.checks import judging
from graduand.monitoring.checks.answer import Choice, choices_of
from graduand.monitoring.checks.check import Check
from graduand.monitoring.checks.judging import Armed, Checks, Verdict
from graduand.monitoring.checks.patterns import PATTERNS, PatternCheck
from graduand.monitoring.checks.written import of_route
from tests.gateway.targets import addressee

MODEL = addressee("small@3f9c1a0b22de")
TASK = {"kind": "label", "labels": ["billing", "shipping to Åland", "好"]}
WATCHED = [*PATTERNS, "refusal", "label", {"max_length": 150}]
ALL = ["not_empty", "truncated", "repetition", "json", {"language": "en"}, *WATCHED]
# Whole patterns, their beginnings and near misses, and what may stand around them.
FRAGMENTS = (
    "sk-abcdefghijklmnopqrstuvwx", "sk-abc", "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN", "-----BEGIN RSA PRIVATE KEY-----",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x", "eyJhbGciOiJIUzI1NiJ9.", "ann@example.com", "ann@", "@example.com", "@",
    "4242 4242 4242 4242", "4242424242424242", "4242", "17", "9999999999", "+49 30 123456789", "+4", "(555) 123-4567",
    "DE89 3704 0044 0532 0130 00", "DE89 3704 0044", "GB82WEST12345698765432", "I'm sorry, but I can't help with that.",
    "The final category is : billing", "I can't help", " but", "As an AI language model, I can't",
    "Es tut mir leid, aber das kann ich nicht", "Answer: ",
    "billing", "shipping to Åland", "好", "the final label is", ":", "`", "```", ".", " ", "  ", "-", "\n", "你好", "🎓", "é",
    "word", "Some words of an ordinary answer that goes on for a while. ", "1", "a", "A",
)  # fmt: skip
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


def cut(text: str, data: st.DataObject, most: int) -> list[str]:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=most)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts, st.data())
def test_what_is_told_early_is_what_the_whole_says(text: str, data: st.DataObject) -> None:
    pieces = cut(text, data, 30)
    for armed in of_route(WATCHED, TASK):
        holds_on_streams(armed.check, text, pieces)


@pytest.mark.parametrize("text", ["".join((one, " ", other)) for one in FRAGMENTS[:30] for other in ("7", " but", "x")])
def test_cut_everywhere(text: str) -> None:
    for armed in of_route(WATCHED, TASK):
        holds_on_streams(armed.check, text, list(text))


def holds_on_streams(check: Check, text: str, pieces: list[str]) -> None:
    whole, watch = check.judge(Choice(text)), check.watch()
    assert watch is not None
    early = next((found for piece in pieces if (found := watch.feed(piece)) is not None), None)
    assert early in (None, whole)
    assert early is None or early.triggered
    if isinstance(check, PatternCheck) and early is None:
        assert watch.end() == whole  # type: ignore[attr-defined]


def verdicts(given: list[Verdict]) -> list[Any]:
    return [(one.name, one.label, one.score, one.action, one.outcome) for one in given]


def events(pieces: list[str], *, ascii_only: bool) -> bytes:
    """A streamed answer as engines write it."""
    chunks: list[Any] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces)]
    listed = [{"index": 0, "delta": delta, "finish_reason": None} for delta in chunks]
    listed.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    bodies = [{"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]} for choice in listed]
    return b"".join(
        f"data: {json.dumps(body, ensure_ascii=ascii_only)}\n\n".encode() for body in bodies
    ) + b"data: [DONE]\n\n"  # fmt: skip


def text_in(released: bytes) -> str:
    chunks = [json.loads(line[6:]) for line in released.split(b"\n\n") if line.startswith(b"data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts, st.booleans(), st.sampled_from([1, 3, 20, HOLD_ALL]), st.data())
@example("Some words. " * 20 + "sk-abcdefghijklmnopqrstuvwx", False, 1, None)
def test_any_chunking_of_a_stream(text: str, ascii_only: bool, held: int, data: st.DataObject | None) -> None:
    """Pieces of text, then the bytes of their events, cut anywhere: also inside UTF-8 characters and inside patterns."""
    raw = events(cut(text, data, 12) if data is not None else list(text), ascii_only=ascii_only)
    places = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=60))) if data is not None else range(len(raw))
    checks = Checks(of_route(ALL, TASK))
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    expected = checks.judge(choices_of(whole), acting=True)

    reader, watcher = StreamReader(MODEL, keep_usage=False), checks.watcher()
    window, pieces, released, triggered = Window(held, watcher.reach), 0, b"", False
    for start, end in zip([0, *places], [*places, len(raw)], strict=True):
        out = reader.feed(raw[start:end])
        new = reader.assembly.unread()
        triggered = triggered or watcher.feed(new)
        if triggered:
            break
        window.add(out, reader.assembly.pieces - pieces, len(new))
        pieces = reader.assembly.pieces
        released += window.ready()
    if triggered:
        known = {one[0]: one for one in verdicts(expected)}
        assert [known[one.name] for one in watcher.verdicts] == verdicts(watcher.verdicts)
        check_nothing_left(text, text_in(released), watcher.verdicts)
        return
    assert verdicts(checks.judge(choices_of(reader.assembly.answer()), acting=True)) == verdicts(expected)
    assert held != HOLD_ALL or released == b""
    assert text_in(released + window.rest()) == text


def check_nothing_left(text: str, left: str, given: list[Verdict]) -> None:
    """No match begins in what was released."""
    assert text.startswith(left)
    for one in given:
        if one.name in PATTERNS:
            pattern = PATTERNS[one.name]
            starts = [at for at in range(len(text)) if (m := pattern.found.match(text, at)) and (
                pattern.valid is None or pattern.valid(m.group()))]  # fmt: skip
            assert len(left) <= starts[0]
        if one.name in ("refusal", "label"):
            assert left == ""


LONG = "Some words of an ordinary answer. " * 6000


@pytest.mark.parametrize("place", [0, 65_530, 65_536, 131_060, 180_000])
@pytest.mark.parametrize("pattern", ["sk-abcdefghijklmnopqrstuvwx", "4242 4242 4242 4242", "ann@example.com"])
def test_a_long_answer_is_judged_in_turns_and_alike(place: int, pattern: str) -> None:
    checks = Checks(of_route(["secret", "card", "email", "refusal", "not_empty"], None))
    text = f"{LONG[:place]} {pattern} {LONG[place:]}"
    choices, given = [Choice(text, "stop")], list[Verdict]()
    turns = sum(1 for _ in checks.in_turns(choices, given, acting=True))
    assert verdicts(given) == verdicts(checks.judge(choices, acting=True))
    assert [one.outcome for one in given].count("trigger") == 1
    assert turns >= 3 * 2


class Strange:
    """A check that fails or dawdles; its clock is the test's."""

    version = "1"

    def __init__(self, clock: list[float], takes_s: float = 0.0, error: Exception | None = None) -> None:
        self.name = "strange"
        self.clock = clock
        self.takes_s = takes_s
        self.error = error
        self.reach = 0

    def judge(self, choice: Choice) -> Any:
        self.clock[0] += self.takes_s
        if self.error is not None:
            raise self.error
        return judging.PASS

    def feed(self, text: str) -> None:
        self.judge(Choice(text))

    def watch(self) -> Any:
        return self


def clocks(now: list[float]) -> tuple[Callable[[], float], Callable[[], float]]:
    return lambda: now[0], lambda: now[0]


def test_a_machine_without_time_makes_no_check_late() -> None:
    now = [0.0]
    checks = Checks([Armed(Strange(now, 9.0))], lambda: now[0], lambda: 0.0)
    [verdict] = checks.judge([Choice("a")], acting=True)
    assert (verdict.outcome, verdict.latency_ms) == ("pass", 9000.0)
    assert not checks.watcher().feed("a")


@pytest.mark.parametrize(
    ("takes_s", "error", "label", "outcome", "action"),
    [
        (0.0, None, "pass", "pass", "none"),
        (0.06, None, "timeout", "timeout", "block"),
        (0.0, ZeroDivisionError("secret"), "error:ZeroDivisionError", "error", "block"),
    ],
)
def test_a_check_in_trouble_counts_as_a_trigger(
    takes_s: float, error: Exception | None, label: str, outcome: str, action: str
) -> None:
    now = [0.0]
    checks = Checks([Armed(Strange(now, takes_s, error), "block"), *of_route(["not_empty"], None)], *clocks(now))
    given, in_turns = checks.judge([Choice("a")], acting=True), list[Verdict]()
    list(checks.in_turns([Choice("a")], in_turns, acting=True))
    assert verdicts(given) == verdicts(in_turns) == [
        ("strange", label, float(label != "pass"), action, outcome), ("not_empty", "pass", 0.0, "none", "pass")
    ]  # fmt: skip
    watcher = checks.watcher()
    assert watcher.feed("a") == (outcome != "pass")
    assert [one.outcome for one in watcher.confirmed(checks.judge([], acting=True))] == [outcome, "pass"]
    [flagged, _] = checks.judge([Choice("a")], acting=False)
    assert flagged.action == ("none" if outcome == "pass" else "flag")
    assert "secret" not in str(judging.logged(given))


@pytest.mark.parametrize(
    ("actions", "decides"),
    [
        (["none", "flag"], None),
        (["flag", "fallback", "fallback"], 1),
        (["fallback", "block", "block"], 1),
    ],
)
def test_the_verdict_that_decides(actions: list[str], decides: int | None) -> None:
    given = [Verdict(str(at), "1", 1.0, "x", 0.0, action, "trigger") for at, action in enumerate(actions)]
    assert judging.worst(given) == (None if decides is None else given[decides])


def test_any_choice_triggers() -> None:
    [verdict] = Checks(of_route(["not_empty"], None)).judge([Choice("a"), Choice(""), Choice("b")], acting=True)
    assert verdict.label == "empty"
