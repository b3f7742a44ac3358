"""The glossary has the words that the product shows."""

import re
from pathlib import Path

from graduand.monitoring.metrics import LABELS
from graduand.rollout.state import Phase

PAGE = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text("utf-8")
TERMS = re.findall(r"^\| (\*\*.+?) \|", PAGE, re.M)
WORDS = [word for term in TERMS for word in re.findall(r"\*\*(.+?)\*\*", term)]
PLAIN = {"outcome", "cause", "state", "purpose"}  # these mean what they mean everywhere


def test_no_word_is_explained_twice() -> None:
    assert len(WORDS) == len(set(WORDS)) > 50


def test_phases_and_labels_are_explained() -> None:
    (phases,) = re.findall(r"\*\*phase\*\* \| (.+) \|", PAGE)
    assert set(re.findall(r"[a-z]+(?: [a-z]+)*", phases.partition(": ")[2].replace(", or ", ", "))) == {
        phase.value.replace("_", " ") for phase in Phase
    }
    assert LABELS.keys() - set(WORDS) == PLAIN
