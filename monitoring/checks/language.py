"""`language`: the answer is in the language that is expected, by script and by stop words. A heuristic, and a coarse one.

It triggers only where it is sure of another language: a text mostly in a foreign script, or several times as many stop
words of another language as of the expected one. Short texts, names, code and mixed texts pass. Only the beginning is
looked at. Languages of one script without stop words here are not told apart.
"""

import re

from graduand.monitoring.checks.answer import Choice
from graduand.monitoring.checks.check import PASS, Finding, Watch, trigger

LOOKED_AT = 4_000
FEWEST_LETTERS = 20
FEWEST_WORDS = 5
FOREIGN_SHARE = 0.7
TIMES = 3

# Words that are frequent in one of these languages and rare in the others.
STOP_WORDS = {
    "en": "the and of to is that it was for with are this you have not be from they your which would there",
    "de": "der die und das ist nicht ein eine mit für auf sie ich wir auch dem den zu sind werden wird oder",
    "fr": "le les des et est une que pas pour dans vous nous avec sur cette sont votre être mais ou au",
    "es": "el los las y es una que no por con para su como pero más muy está esto usted del se",
    "it": "il gli di e è una che non per con sono della questo anche più ma lei nel alla suo si",
    "pt": "os as e é uma que não por com para seu como mas mais você isso está do da em no",
    "nl": "de het een en van is niet dat voor met zijn op aan ook maar wordt naar bij uw deze je",
}
SCRIPTS = {
    "latin": "A-Za-zÀ-ɏ",
    "cyrillic": "\u0400-\u04ff",
    "greek": "\u0370-\u03ff",
    "arabic": "\u0600-\u06ff",
    "hebrew": "\u0590-\u05ff",
    "devanagari": "\u0900-\u097f",
    "thai": "\u0e00-\u0e7f",
    "han": "\u4e00-\u9fff",
    "kana": "\u3040-\u30ff",
    "hangul": "\uac00-\ud7af",
}
# Languages that are recognised by their scripts; Japanese mixes two.
BY_SCRIPT = {
    **dict.fromkeys(STOP_WORDS, ("latin",)),
    "ru": ("cyrillic",), "uk": ("cyrillic",), "el": ("greek",), "ar": ("arabic",), "he": ("hebrew",),
    "hi": ("devanagari",), "th": ("thai",), "zh": ("han",), "ja": ("kana", "han"), "ko": ("hangul",),
}  # fmt: skip
_KNOWN = {language: frozenset(words.split()) for language, words in STOP_WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")
_LETTERS = re.compile(f"[{''.join(SCRIPTS.values())}]")
_OF_SCRIPT = {name: re.compile(f"[{letters}]") for name, letters in SCRIPTS.items()}


class Language:
    """Triggers on a text that is surely not in `expect`.

    >>> Language("en").judge(Choice("Das ist leider nicht möglich, weil wir die Rechnung nicht mit Ihnen und der Bank")).label
    'de'
    """

    name = "language"
    version = "1"

    def __init__(self, expect: str) -> None:
        self.expect = expect
        self._own = _KNOWN.get(expect)
        self._scripts = [_OF_SCRIPT[name] for name in BY_SCRIPT[expect]]

    def judge(self, choice: Choice) -> Finding:
        """The label names the other language, or `script`."""
        text = choice.text[:LOOKED_AT]
        letters = len(_LETTERS.findall(text))
        if letters < FEWEST_LETTERS:
            return PASS
        own = sum([len(script.findall(text)) for script in self._scripts])
        if (letters - own) / letters > FOREIGN_SHARE:
            return trigger("script", round(1 - own / letters, 2))
        return PASS if self._own is None else self._by_words(text, self._own)

    def watch(self) -> Watch | None:
        """Judged at the end."""
        return None

    def _by_words(self, text: str, own: frozenset[str]) -> Finding:
        words = [word.casefold() for word in _WORD.findall(text)]
        expected = sum([word in own for word in words])
        for language, known in _KNOWN.items():
            count = sum([word in known for word in words])
            if language != self.expect and count >= FEWEST_WORDS and count > TIMES * expected:
                return trigger(language, round(count / len(words), 2))
        return PASS
