"""`repetition`: the answer goes round in circles, as small models do until they run into their limit.

A loop has no end, so the end of the text is looked at. Two signs must agree: the text compresses far better than prose
does (2 to 3), and most of its 4-grams of words have been there before. Tables and lists show the first sign without the
second. Source: the compression ratio is Whisper's test for a decoder that is stuck (Radford et al. 2022, section 4.5).
"""

import zlib

from graduand.monitoring.checks.answer import Choice
from graduand.monitoring.checks.check import PASS, Finding, Watch

RATIO = 4.0
SHARE = 0.6
LOOKED_AT = 4_000
SHORTEST = 200
GRAM = 4


class Repetition:
    """Triggers on a text whose end repeats itself; the score is the compression ratio.

    >>> Repetition().judge(Choice("I am sorry about that. " * 20)).label
    'repeated'
    """

    name = "repetition"
    version = "1"

    def __init__(self, ratio: float = RATIO, share: float = SHARE) -> None:
        self.ratio = ratio
        self.share = share

    def judge(self, choice: Choice) -> Finding:
        """Texts too short to tell pass."""
        text = choice.text
        if len(text) < SHORTEST:
            return PASS
        end = text[-LOOKED_AT:]
        encoded = end.encode("utf-8", "replace")
        ratio = round(len(encoded) / len(zlib.compress(encoded, 1)), 2)
        repeated = ratio >= self.ratio and repeated_share(end) >= self.share
        return Finding(repeated, "repeated" if repeated else "pass", ratio)

    def watch(self) -> Watch | None:
        """The end is what is looked at."""
        return None


def repeated_share(text: str) -> float:
    """The share of the text's 4-grams that have been there before: of words, or of characters where few blanks are.

    >>> repeated_share("a b c d e f g h"), round(repeated_share("a b c d " * 50), 2)
    (0.0, 0.98)
    """
    units: list[str] | str = text.split()
    if len(units) < len(text) / 20:  # Chinese, Japanese, Thai; or one endless word
        units = text
    count = len(units) - GRAM + 1
    if count < 1:
        return 0.0
    seen = {tuple(units[at : at + GRAM]) for at in range(count)}
    return 1 - len(seen) / count
