"""The error browser: one static page with every row that the student had wrong, for a person to read. Pure.

No script from elsewhere and no request to anywhere; what comes from data is escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 62rem; padding: 1rem }
nav { position: sticky; top: 0; background: Canvas; padding: .5rem 0; border-bottom: 1px solid GrayText }
article { border: 1px solid color-mix(in srgb, GrayText 50%, transparent); border-radius: .5rem }
article { margin: 1rem 0; padding: .75rem 1rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 18rem; overflow: auto; font: inherit; margin: .5rem 0 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 0 }
dt { color: GrayText } dd { margin: 0; overflow-wrap: anywhere }
summary { cursor: pointer; color: GrayText } small { color: GrayText }
[hidden] { display: none }
"""
SCRIPT = """
const find = document.querySelector("input"), kind = document.querySelector("select"), shown = document.querySelector("output");
function filter() {
  const word = find.value.toLowerCase(); let count = 0;
  for (const one of document.querySelectorAll("article")) {
    one.hidden = !one.textContent.toLowerCase().includes(word) || (kind.value && one.dataset.kind !== kind.value);
    count += !one.hidden;
  }
  shown.value = count + " shown";
}
find.oninput = kind.onchange = filter; filter();
"""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that the student had wrong. `near` are training rows: what they say, how alike they are, what was learned."""

    id: str
    test_set: str
    text: str
    gold: str
    said: str
    confidence: float | None
    teachers: dict[str, str]
    near: tuple[tuple[str, float, str], ...] = ()


def page(title: str, mistakes: Sequence[Mistake], rows: int) -> str:
    """The whole page, the surest mistakes first: those are labels to doubt or lessons never taught."""
    ordered = sorted(mistakes, key=lambda each: -(each.confidence or 0.0))
    kinds = sorted({_kind(each) for each in mistakes})
    options = "".join(f'<option value="{escape(kind)}">{escape(kind)}</option>' for kind in kinds)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p>{len(mistakes)} of {rows} rows are wrong. The surest mistakes come first.</p>"
        f'<nav><input type="search" placeholder="find" aria-label="find"> <select aria-label="kind of mistake">'
        f'<option value="">all kinds</option>{options}</select> <output></output></nav>'
        f"{''.join(map(_article, ordered))}<script>{SCRIPT}</script></body></html>\n"
    )


def _kind(each: Mistake) -> str:
    return f"{each.gold} read as {each.said}"


def _article(each: Mistake) -> str:
    sure = "" if each.confidence is None else f" ({each.confidence:.1%} sure)"
    facts = [("gold", each.gold), ("student", each.said + sure), *each.teachers.items()]
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    near = "".join(
        f"<li><small>{alike:.2f}, learned {escape(learned)}</small><pre>{escape(text)}</pre></li>"
        for text, alike, learned in each.near
    )
    more = f"<details><summary>nearest rows that it learned from</summary><ol>{near}</ol></details>" if near else ""
    return (
        f'<article data-kind="{escape(_kind(each))}"><small>{escape(each.test_set)}, {escape(each.id)}</small>'
        f"<pre>{escape(each.text)}</pre><dl>{listed}</dl>{more}</article>"
    )
