"""What a teacher is asked to write, and how its list is read. Pure."""

import json
import re
from collections.abc import Sequence

from graduand.rollout.answers.answers import FENCE, Unparsed

EACH = 5  # texts asked for at once: more repeat each other
LONGEST = 20_000
NUMBERED = re.compile(r"^\s*(?:\d+[.):]|[-*•])\s+(.*\S)\s*$")

NEW = (
    "You write realistic test data. {about}Below are things that users said. Write {count} new ones that are as "
    "different as possible from these and from each other in topic, wording, length and tone{wanted}. Answer with a JSON "
    "list of {count} strings and nothing else."
)
PARAPHRASE = (
    "You rewrite texts. {about}Write {count} paraphrases of what the user says: the same meaning, intent and tone in other "
    "words and another structure. Answer with a JSON list of {count} strings and nothing else."
)


def new(about: str, examples: Sequence[str], label: str | None) -> list[dict[str, str]]:
    """The request for new texts, if `label` is given of that class."""
    wanted = f"; all of them belong to the class {label!r}" if label is not None else ""
    system = NEW.format(about=f"{about} " if about else "", count=EACH, wanted=wanted)
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": json.dumps(list(examples), ensure_ascii=False)},
    ]


def paraphrase(about: str, text: str, count: int) -> list[dict[str, str]]:
    """The request for paraphrases of one text."""
    system = PARAPHRASE.format(about=f"{about} " if about else "", count=count)
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def texts_of(answer: str) -> list[str] | Unparsed:
    """The texts of a list, as JSON (fenced or not) or with numbers or dashes.

    >>> texts_of('```json\\n["one", "two"]\\n```'), texts_of("1. one\\n2. two")
    (['one', 'two'], ['one', 'two'])
    >>> texts_of("Sorry, I cannot help with that.")
    Unparsed(reason='no list in it')
    """
    if len(answer) > LONGEST:
        return Unparsed(f"longer than {LONGEST} characters")
    fenced = FENCE.search(answer)
    inner = (fenced[1] if fenced else answer).strip()
    try:
        value = json.loads(inner[inner.find("[") : inner.rfind("]") + 1])
    except ValueError:
        value = None
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        return [text.strip() for text in value if text.strip()]
    found = [match[1] for line in inner.splitlines() if (match := NUMBERED.match(line))]
    return found or Unparsed("no list in it")
