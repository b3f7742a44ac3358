"""The snippets of the documentation: fenced blocks with their language and place, and the commands in shell blocks."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")]
ABOVE = [*TOP, ROOT / "benchmarks" / "README.md", ROOT / "deploy" / "k8s" / "README.md"]
PAGES = sorted([*ABOVE, *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`graduand ([a-z][^`]*)`")
# What stands between one command and the next.
BETWEEN = {"|", "&", "&&", "||", ";", ">", "2>", ">>", "<", "2>&1", ")"}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    place: str
    language: str
    text: str


def blocks(language: str) -> list[Block]:
    """Every fenced block in `language`, with `page:line`."""
    return [block for page in PAGES for block in _blocks(page) if block.language == language]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(f"{page.relative_to(ROOT)}:{line}", found[1], found[2])


def commands() -> list[tuple[str, list[str]]]:
    """Every `graduand …` command of the shell blocks: where it stands, and its arguments."""
    return [(block.place, words) for block in blocks("sh") for words in _commands(block.text)]


def _commands(text: str) -> Iterator[list[str]]:
    for words in _lines(text):
        for at, word in enumerate(words):
            # Not where it is a folder (`cd graduand`) or a namespace (`kubectl -n graduand`).
            first = at == 0 or words[at - 1] in BETWEEN | {"--", "("}
            if first and (word == "graduand" or word.endswith("/graduand")):
                arguments = words[at + 1 :]
                ends = [place for place, one in enumerate(arguments) if one in BETWEEN]
                yield arguments[: ends[0]] if ends else arguments


def _lines(text: str) -> Iterator[list[str]]:
    """The words of each line; one that ends within quotes goes on in the next."""
    begun = ""
    for line in text.replace("\\\n", " ").splitlines():
        begun += line
        lexer = shlex.shlex(begun, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:
            begun += "\n"
            continue
        begun = ""
        yield words
    assert not begun, f"a quotation is never closed: {begun[:80]}"


def named() -> list[tuple[str, str]]:
    """Every command that is named in running text, as `page` and the words after `graduand`."""
    found = []
    for page in PAGES:
        text = FENCE.sub("", page.read_text("utf-8"))
        found += [(str(page.relative_to(ROOT)), words) for words in INLINE.findall(text)]
    return found
