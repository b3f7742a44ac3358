"""`refusal`: the answer begins by refusing to answer, in a few languages, or the API says that the model refused.

Anchored at the start: 'I cannot help with that' at the head is a refusal, in the middle of an answer it is a sentence.
'I am sorry, your order was lost' is none either: the words must say that the model will not do what it was asked to.
"""

import re

from graduand.monitoring.checks.answer import Choice
from graduand.monitoring.checks.check import PASS, Finding, Watch, trigger

START = 240
# Whether a match stands may depend on so many characters after it.
AHEAD = 8
REFUSED = trigger("refusal")

_DO = r"(?:help|assist|comply|fulfil|provide|answer|respond|discuss|create|generate|write|do that|do this|continue|engage)"
_ENGLISH = (
    r"(?:(?:i['’]?m|i am|we['’]?re|we are)\s+(?:very\s+|really\s+|so\s+)?(?:sorry|afraid)[\s,.]+(?:but\s+)?(?:that\s+)?"
    r"|sorry[\s,.]+(?:but\s+)?|i apologi[sz]e[\s,.]+(?:but\s+)?|unfortunately,?\s+)?(?:as an ai[^.!?\n]{0,40}?[,]?\s+)?"
    r"(?:i|we)\s*(?:(?:can\s?not|can['’]?t|won['’]?t|will not|must decline to|decline to|refuse to|do not feel comfortable"
    r"|don['’]?t feel comfortable)|(?:am|are|['’]m|['’]re)\s+(?:unable|not able|not allowed|not permitted)\s+to)"
    rf"\s+{_DO}\b(?!\s{{1,2}}(?:but|wonder))"
)
_OTHERS = (
    r"as an ai (?:language )?model,? i (?:can\s?not|can['’]?t|do not|don['’]?t)",
    r"(?:es )?tut mir leid,? aber (?:ich|dabei|das) (?:kann|darf)\b[^.!?\n]{0,60}\b(?:nicht|keine?)\b",
    r"(?:dabei|damit|hierbei) kann ich (?:ihnen |dir )?(?:leider )?nicht (?:helfen|weiterhelfen|dienen)",
    r"ich kann (?:ihnen |dir )?(?:dabei|damit|hierbei) (?:leider )?nicht helfen",
    r"(?:je suis )?désolée?,? mais je ne (?:peux|puis) pas (?:vous |t['’])?(?:aider|répondre|fournir|faire)",
    r"je ne (?:peux|puis) pas (?:vous )?(?:aider|répondre à|fournir)",
    r"lo siento,? pero no puedo (?:ayudar|responder|proporcionar|cumplir|hacer)",
    r"mi dispiace,? ma non posso (?:aiutar|rispondere|fornire|fare)",
    r"(?:desculpe|sinto muito|lamento),? mas (?:eu )?não posso (?:ajudar|responder|fornecer|fazer)",
    r"(?:het spijt me|sorry),? maar (?:ik kan|daar kan ik) [^.!?\n]{0,40}niet",
    r"(?:很?抱歉|对不起)[,,]?我?(?:无法|不能)",
    r"申し訳(?:ありません|ございません)が?、?[^。\n]{0,40}(?:できません|お答えできません|いたしかねます)",
    r"(?:извините|к сожалению|простите),?\s*(?:но\s+)?я не могу (?:помочь|ответить|выполнить|предоставить)",
)
# Quotes, emphasis and headings may stand before the first word. Bounded, so that a start's length decides.
_PATTERN = re.compile(
    rf"""[\s"'“”„«»*_#>-]{{0,16}}(?:{"|".join((_ENGLISH, *_OTHERS))})""", re.IGNORECASE
)  # fmt: skip


class Refusal:
    """Triggers on a refusal at the start.

    >>> check = Refusal()
    >>> [check.judge(Choice(text)).triggered for text in ("I'm sorry, but I can't help with that.", "I can't log in")]
    [True, False]
    """

    name = "refusal"
    version = "1"

    def judge(self, choice: Choice) -> Finding:
        """OpenAI's own field for refusals counts as well."""
        if choice.refusal:
            return REFUSED
        return PASS if _PATTERN.match(choice.text[:START]) is None else REFUSED

    def watch(self) -> Watch | None:
        """Certain once the words are there with a little after them."""
        return _Start()


class _Start:
    def __init__(self) -> None:
        self.reach = START
        self._text = ""

    def feed(self, text: str) -> Finding | None:
        if len(self._text) >= START:
            return None
        self._text = (self._text + text)[:START]
        found = _PATTERN.match(self._text)
        if found is None:
            return None
        return REFUSED if len(self._text) == START or found.end() + AHEAD <= len(self._text) else None
