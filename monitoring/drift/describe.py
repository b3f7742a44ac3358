"""Plain facts about a text: how long it is, how much of it is digits, its language, the template it was made from.

Nothing here understands a text; these are what changes when an application changes its prompts or its customers.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

LOOKED_AT = 2_000
TEMPLATE_CHARACTERS = 24
WORD = re.compile(r"[^\W\d_]+")
# The commonest words that tell these languages apart; others in Latin letters are 'latin'.
WORDS: Final = {
    "en": "the and of to is that you for it was with not this are have be",
    "de": "der die und das nicht ist ein ich zu mit sich auf den für von sie",
    "fr": "le les et des est une que pas vous pour dans qui sur je du avec",
    "es": "el los y que una por con para las del es lo como pero su al",
    "pt": "o os e que uma não com para do da em se na mais dos um",
    "it": "il di e che non per una sono con del la gli è ho mi si",
    "nl": "het een van en dat niet ik je op te zijn voor met die er wat",
}
OF_WORD: Final = {
    word: tuple(language for language, words in WORDS.items() if word in words.split())
    for words in WORDS.values()
    for word in words.split()
}


@dataclass(frozen=True, slots=True)
class Description:
    """What is counted of one request."""

    length: int  # characters
    digits: float  # share of characters that are not blank
    language: str  # a language of `WORDS`, or a script in lower case
    template: str  # requests with the same beginning share it
    system: str = ""  # requests with the same system message share it
    system_length: int = 0  # characters


def describe(text: str, system: str = "") -> Description:
    """Describe what the user said; `system` is what the application put before it.

    >>> describe("Wo ist das Paket 4711, und wer hat es nicht geliefert?").language
    'de'
    >>> describe("Ticket 17: refund").template == describe("Ticket 99: question").template
    False
    >>> describe("Order 1 is late. Classify: a").template == describe("Order 2 is late. Classify: b").template
    True
    >>> describe("Hi", "Be brief.").system == describe("Hi", "Be kind.").system
    False
    """
    shown = text[:LOOKED_AT]
    visible = sum(not char.isspace() for char in shown)
    digits = sum(char.isdigit() for char in shown)
    share = digits / visible if visible else 0.0
    return Description(len(text), share, language(shown), template(text), _short(system), len(system))


def language(text: str) -> str:
    """The commonest script, and for Latin letters the language whose commonest words it has most of."""
    script = _script(text)
    if script != "latin":
        return script
    votes = dict.fromkeys(WORDS, 0)
    for word in WORD.findall(text.lower()):
        for name in OF_WORD.get(word, ()):
            votes[name] += 1
    best = max(votes, key=lambda name: votes[name])
    return best if votes[best] > 0 else script


def _script(text: str) -> str:
    if text.isascii():
        return "latin" if any(char.isalpha() for char in text) else "none"
    counts: dict[str, int] = {}
    for char in text:
        if char.isalpha():
            # Unicode names begin with their script: CYRILLIC SMALL LETTER A.
            name = "latin" if char.isascii() else unicodedata.name(char, "other").partition(" ")[0].lower()
            counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: counts[name]) if counts else "none"


def template(text: str) -> str:
    """Eight hex digits of the text's beginning, numbers in it left out."""
    return _short(text[: 2 * TEMPLATE_CHARACTERS], TEMPLATE_CHARACTERS)


def _short(text: str, most: int | None = None) -> str:
    """Eight hex digits of a text's first `most` characters; which numbers are in it does not matter."""
    return hashlib.sha256(re.sub(r"\d+", "0", text)[:most].encode("utf-8", "replace")).hexdigest()[:8]
