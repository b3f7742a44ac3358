"""BERT's tokenizer for lower-cased text, without its special tokens: words and punctuation, then the longest known pieces.

Exactly the ids of the `tokenizers` library with the same vocabulary. Source: Devlin et al., "BERT", arXiv:1810.04805, and
its reference implementation (BasicTokenizer, WordpieceTokenizer). Must never fail on a text: whatever cannot be read is
left out or unknown, as there.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

UNKNOWN = "[UNK]"
LONGEST_WORD = 100
CACHED_WORDS = 50_000
ASCII_WORDS = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
ASCII_CONTROLS = {code: None for code in (*range(32), 127) if chr(code) not in "\t\n\r"}
IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class WordPiece:
    """Ids are places in `vocabulary`.

    >>> pieces = WordPiece(["[UNK]", "un", "##aff", "##able", "!"])
    >>> pieces.ids("Unaffable! xyz")
    [1, 2, 3, 4, 0]
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._known = {piece: number for number, piece in enumerate(vocabulary)}
        self._unknown = self._known[UNKNOWN]
        self._cache: dict[str, tuple[int, ...]] = {}

    def ids(self, text: str) -> list[int]:
        """The pieces of a text."""
        cache = self._cache
        found: list[int] = []
        for word in words(text):
            pieces = cache.get(word)
            if pieces is None:
                if len(cache) >= CACHED_WORDS:
                    cache.clear()
                pieces = cache[word] = tuple(self._pieces(word))
            found += pieces
        return found

    def _pieces(self, word: str) -> list[int]:
        if len(word) > LONGEST_WORD:
            return [self._unknown]
        found: list[int] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            piece = next((end for end in ends if mark + word[start:end] in self._known), 0)
            if not piece:
                return [self._unknown]
            found.append(self._known[mark + word[start:piece]])
            start = piece
        return found


def words(text: str) -> list[str]:
    """Lower-cased words without accents; each punctuation mark and ideograph is a word."""
    if text.isascii():
        return ASCII_WORDS.findall(text.lower().translate(ASCII_CONTROLS))
    spaced = "".join(_cleaned(text))
    plain = "".join(char for char in unicodedata.normalize("NFD", spaced) if unicodedata.category(char) != "Mn")
    # Python would write a capital sigma at the end of a word in another way than letter by letter.
    return [part for word in plain.replace("Σ", "σ").lower().split() for part in _split(word)]


def _cleaned(text: str) -> Iterator[str]:
    for char in text:
        code = ord(char)
        if char in "\t\n\r" or (char.isspace() and unicodedata.category(char)[0] == "Z"):
            yield " "
        elif code == 0xFFFD or unicodedata.category(char)[0] == "C":
            continue
        elif any(first <= code <= last for first, last in IDEOGRAPHS):
            yield f" {char} "
        else:
            yield char


def _split(word: str) -> Iterator[str]:
    start = 0
    for place, char in enumerate(word):
        if _is_punctuation(char):
            if place > start:
                yield word[start:place]
            yield char
            start = place + 1
    if start < len(word):
        yield word[start:]


def _is_punctuation(char: str) -> bool:
    code = ord(char)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or unicodedata.category(char)[0] == "P"
