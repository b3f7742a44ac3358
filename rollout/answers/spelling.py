"""When two texts are the same, for all who ask: readers of answers, comparisons, curation, leaks. Pure.

Invariant: nothing is dropped that carries meaning: signs, symbols, emoji and combining vowels stay. Two texts have one
`identity` if they differ in case, in blanks, or in how Unicode writes the same characters (NFC, Unicode Standard Annex 15).
What a model puts around a short answer (quotes, a full stop, emphasis) is looked through by `plain`, and only where the
text as it stands is not known.
"""

import re
import unicodedata
from collections.abc import Mapping

# Invisible, and left over from copying: a byte order mark, zero width space, word joiner, soft hyphen.
INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u2060\u00ad"))
AROUND = {
    '"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "(": ")", "[": "]", "{": "}", "「": "」", "『": "』", "”": "”",
}  # fmt: skip
# What ends a sentence, a clause or a line of a list, in the scripts that have marks of their own for it.
ENDS = ".,;:!?…。！？；，、،؛؟।"
EMPHASIS = re.compile(r"([*_`]{1,3})([^*_`]+)\1")
BULLET = re.compile(r"[-*•·–]\s+(?=\D)")


def identity(value: object) -> str:
    """The text by which a value is known.

    >>> identity("  Not\\u00a0Toxic "), identity(1.0), identity(True), identity("C++") == identity("c"), identity("-1")
    ('not toxic', '1', 'true', False, '-1')
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(INVISIBLE))
        return " ".join(unicodedata.normalize("NFC", text.casefold()).split())
    return " ".join(text.casefold().split())


def plain(value: object) -> str:
    """The identity of what is left of a short answer without what was put around it; never empty if the answer is not.

    >>> plain(' "Not-Toxic." '), plain("**Yes**"), plain("- maybe"), plain("-5"), plain("C++."), plain(":)"), plain("(:")
    ('not-toxic', 'yes', 'maybe', '-5', 'c++', ':)', '(:')
    """
    text = identity(value)
    while True:
        less = _less(text)
        if not less or less == text:
            return text
        text = less


def _less(text: str) -> str:
    """Without one layer."""
    emphasis = EMPHASIS.fullmatch(text)
    if emphasis is not None and _says(emphasis[2]):
        return emphasis[2].strip()
    if len(text) > 2 and AROUND.get(text[0]) == text[-1]:
        inner = text[1:-1]
        # `"a" or "b"` is not in quotes, and an emoticon's eyes or mouth are not around anything.
        if text[0] not in inner and text[-1] not in inner and _says(inner):
            return inner.strip()
    bare = BULLET.sub("", text, count=1) if BULLET.match(text) else text
    shorter = bare.rstrip(ENDS + " ")
    return shorter if _says(shorter) else text


def _says(text: str) -> bool:
    """Whether there is a letter, a digit or a symbol in it: more than marks."""
    return any(unicodedata.category(char)[0] in "LNSM" for char in text)


def find(known: Mapping[str, str], value: object) -> str | None:
    """What the identity of `value` stands for in `known`: as it stands, or else as `plain` reads it.

    >>> labels = {"c": "C", "c++": "C++", "c.": "C."}
    >>> find(labels, "C."), find(labels, '"C++."'), find(labels, "C#")
    ('C.', 'C++', None)
    """
    found = known.get(identity(value))
    return known.get(plain(value)) if found is None else found
