"""The review as a static page: a person picks labels and downloads the same CSV that the sheet is. Pure.

Works from a file, without a server; picks survive closing the page (the browser's own storage). What comes from data is
escaped, and reaches the script as text only.
"""

from collections.abc import Sequence
from html import escape

from graduand.rollout.answers.tasks import Task
from graduand.training.data import labels
from graduand.training.evaluation.browser import STYLE
from graduand.training.review.disputes import Dispute

MORE_STYLE = """
label { display: inline-block; margin-right: 1rem } input[type=text] { width: 100%; box-sizing: border-box }
fieldset { border: 0; padding: 0; margin: .5rem 0 } article.done { border-color: green }
"""
SCRIPT = """
const key = "review " + document.body.dataset.review, kept = JSON.parse(localStorage.getItem(key) || "{}");
const articles = [...document.querySelectorAll("article")], left = document.querySelector("output");
function count() {
  for (const one of articles) one.classList.toggle("done", Boolean(kept[one.dataset.id]?.correction));
  left.value = document.querySelectorAll(".done").length + " of " + articles.length + " corrected or confirmed";
}
for (const one of articles) {
  const mine = kept[one.dataset.id] || {};
  for (const pick of one.querySelectorAll("input[type=radio]")) pick.checked = pick.value === mine.correction;
  one.querySelector("input[type=text]").value = mine.note || "";
  one.oninput = () => {
    const pick = one.querySelector("input[type=radio]:checked");
    kept[one.dataset.id] = { correction: pick ? pick.value : "", note: one.querySelector("input[type=text]").value };
    localStorage.setItem(key, JSON.stringify(kept)); count();
  };
}
document.querySelector("button").onclick = () => {
  const cell = text => '"' + text.replaceAll('"', '""') + '"';
  const lines = Object.entries(kept).filter(([, one]) => one.correction)
    .map(([id, one]) => [id, one.correction, one.note].map(cell).join(","));
  const file = new Blob(["id,correction,note\\n" + lines.join("\\n") + "\\n"], { type: "text/csv" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: "corrections.csv" });
  link.click();
};
count();
"""


def page(task: Task, disputes: Sequence[Dispute], identity: str) -> str:
    """The whole page; `identity` keeps the picks of different reviews apart."""
    names = labels.names(task)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>Review</title><style>{STYLE}{MORE_STYLE}</style></head>"
        f'<body data-review="{escape(identity)}"><h1>Review</h1>'
        "<p>Pick what is right. Rows without a pick stay as they are.</p>"
        "<nav><button>Download corrections.csv</button> <output></output></nav>"
        f"{''.join(_article(number, each, names) for number, each in enumerate(disputes))}"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _article(number: int, each: Dispute, names: Sequence[str]) -> str:
    facts = "".join(f"<dt>{escape(voice)}</dt><dd>{escape(label)}</dd>" for voice, label in each.voices.items())
    picks = "".join(
        f'<label><input type="radio" name="row{number}" value="{escape(name)}"> {escape(name)}</label>'
        for name in names
    )
    return (
        f'<article data-id="{escape(each.sample.id)}"><small>{escape(each.sample.id)}: {escape(each.why)}</small>'
        f"<pre>{escape(each.sample.text)}</pre><dl>{facts}</dl><fieldset>{picks}</fieldset>"
        '<input type="text" placeholder="note" aria-label="note"></article>'
    )
