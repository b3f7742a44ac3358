"""Bad answers, the checks that find them, and what becomes of each: one table for the tests and for docs/faults.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.gateway.upstream import Action, Conversation, asked_usage, chunk, message, usage_chunk

SECRET = "AKIAIOSFODNN7EXAMPLE"
PROSE = (
    "Your parcel left our warehouse on Monday and reached the sorting centre in Leipzig a day later. From there it takes "
    "two working days on average. If it has not arrived by Friday, please write to us again: we will send another one at "
    "no cost, and you need not return the first. We know that this is not what you hoped for, and we are sorry. 🎓 "
)
LABELS = {"kind": "label", "labels": ["billing", "shipping"]}


@dataclass(frozen=True)
class Bad:
    """A bad answer and the check that finds it. `late`: a window has released something by then."""

    name: str
    check: str
    label: str
    text: str
    finish: str = "stop"
    late: bool = False
    written: Any = None


BAD = {
    "empty": Bad("blanks only", "not_empty", "empty", "  "),
    "cut": Bad("cut at a limit of tokens, short", "truncated", "length", "Your parcel left", "length"),
    "cut-late": Bad("cut at a limit of tokens, long", "truncated", "length", PROSE, "length", late=True),
    "refusal": Bad("a refusal at the start", "refusal", "refusal", "I'm sorry, but I can't help with that. " + PROSE),
    "not-json": Bad("no JSON", "json", "not_json", "Sure!"),
    "schema": Bad("JSON against the schema", "json", "schema", '{"b": 1}',
                  written={"schema": {"type": "object", "required": ["a"]}}),
    "label": Bad("none of the labels", "label", "no_label", "That is hard to say. " + PROSE),
    "loop": Bad("the same sentence over and over", "repetition", "repeated", "I am sorry about that. " * 40, late=True),
    "secret": Bad("a key at the start", "secret", "secret", f"The key is {SECRET}, keep it well."),
    "secret-late": Bad("a key late in a long answer", "secret", "secret", f"{PROSE}{PROSE}The key is {SECRET}, keep it. {PROSE}",
                       late=True),
    "long": Bad("longer than allowed", "max_length", "too_long", PROSE, late=True, written={"characters": 100}),
    "french": Bad("another language than expected, long", "language", "fr",
                  "Je ne sais pas si la commande est dans les cartons que vous avez pour nous.",
                  late=True, written={"expect": "en"}),
}  # fmt: skip
ACTIONS = ("fallback", "flag", "block")
RELEASES = ("observe", "window", "block")


def says(text: str, finish: str = "stop", step: int = 4) -> Action:
    """Answer with a text, in chat's or completion's shape, streamed in pieces or whole."""

    def say(one: Conversation) -> None:
        model = one.seen.data["model"]
        if not one.streams:
            body = message(model)
            body["choices"][0] |= {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
            one.whole(200, body)
            return
        one.start_stream()
        one.events([chunk(model, role="assistant", content="")])
        one.events([chunk(model, content=text[at : at + step]) for at in range(0, len(text), step)])
        one.events([chunk(model, finish=finish), *([usage_chunk(model)] if asked_usage(one) else []), "[DONE]"])
        one.end_stream()

    return say


@dataclass(frozen=True)
class Case:
    bad: str
    action: str
    release: str
    stream: bool

    @property
    def name(self) -> str:
        return f"{self.bad}-{self.action}-{self.release}"

    @property
    def ends(self) -> str:
        """How it ends: with the student's answer, with the teacher's, with an error, or broken off."""
        if self.action == "flag" or (self.stream and self.release == "observe"):
            return "student"
        if self.stream and self.release == "window" and BAD[self.bad].late:
            return "broken"
        return {"fallback": "teacher", "block": "refused"}[self.action]


CASES = [Case(b, a, r, s) for b in BAD for a in ACTIONS for r in RELEASES for s in (False, True)]


COLUMNS = (("not streamed", "observe", False), *((f"streamed, `{one}`", one, True) for one in RELEASES))
HEAD = """## By a student whose answer fails an output check

One check a route, with the action named; `release_window: 5`. What a window has begun to release cannot be taken back. The
teacher's own answers are never held back, whatever the checks say. See [checks.md](checks.md).
"""


def words(case: Case) -> str:
    cause = f"check:{BAD[case.bad].check}"
    return {
        "student": "the student's answer, flagged",
        "teacher": f"the teacher answers: `fallback:{cause}`",
        "refused": "400 `content_filter`",
        "broken": f"what was released, an error event `{cause}`, connection cut",
    }[case.ends]


def lines() -> Iterator[str]:
    """The page's section."""
    yield HEAD
    for action in ("fallback", "block"):
        yield f"| answer, `action: {action}` | check | " + " | ".join(title for title, *_ in COLUMNS) + " |"
        yield "|---" * (len(COLUMNS) + 2) + "|"
        for key, bad in BAD.items():
            cells = [words(Case(key, action, release, stream)) for _, release, stream in COLUMNS]
            yield f"| {bad.name} | `{bad.check}` | " + " | ".join(cells) + " |"
        yield ""
    yield "With `action: flag` the student's answer is released in every form, and the verdict is logged and counted."
