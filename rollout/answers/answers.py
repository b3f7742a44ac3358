"""Raw model text to something comparable: a normalised label or an object; otherwise `Unparsed`, never a default.

Real answers come fenced, with an explanation before or after, or as Python literals instead of JSON; two objects that
contradict each other are as good as none. Nothing here executes what it reads.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graduand.rollout.answers import spelling

FENCE = re.compile(r"```[\w+-]*[ \t]*\n?(.*?)```", re.DOTALL)
LEAD = re.compile(r"^(?:the\s+)?(?:final\s+)?(?:answer|label|category|class|verdict)\s*(?:is\s*:?|:)\s*", re.IGNORECASE)
# Longer texts are no answer to parse; the limit keeps a hostile answer from costing much.
LONGEST = 200_000
# Deeper than this is no answer that anybody compares.
MOST_NESTED = 64
MISSING = object()


@dataclass(frozen=True, slots=True)
class Unparsed:
    """The text could not be read, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Label:
    """One of a task's labels."""

    value: str


def parse_object(text: str) -> dict[str, Any] | Unparsed:
    """The one JSON object (or Python dict literal) in a model's answer.

    >>> parse_object('Sure:\\n```json\\n{"is_bad": 0}\\n```')
    {'is_bad': 0}
    >>> parse_object("{'is_bad': 1}\\n\\nExplanation: ...")
    {'is_bad': 1}
    >>> parse_object('{"is_bad": 0} or {"is_bad": 1}')
    Unparsed(reason='objects that differ')
    """
    if len(text) > LONGEST:
        return Unparsed(f"longer than {LONGEST} characters")
    whole = _literal(text.strip())
    if isinstance(whole, dict):
        return whole
    for places in (FENCE.findall(text), _braced(text)):
        found: list[dict[str, Any]] = []
        for place in places:
            value = _literal(place.strip())
            if isinstance(value, dict) and value not in found:
                found.append(value)
            if len(found) > 1:
                return Unparsed("objects that differ")
        if found:
            return found[0]
    return Unparsed("empty" if not text.strip() else "no complete object in it")


def _literal(text: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
        return value if _is_shallow(value) else None
    except (ValueError, RecursionError):
        return _python_literal(text) if text.startswith("{") else None


def _python_literal(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in what a model wrote
            tree = ast.parse(text, mode="eval")
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                _without_repeats([(ast.dump(key), None) for key in node.keys if key is not None])
        value = ast.literal_eval(tree)
        return value if _is_shallow(value) else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _is_shallow(value: Any) -> bool:
    """Whether nobody who walks the value by recursion runs out of stack: a model may nest as deep as it likes."""
    level = [value]
    for _ in range(MOST_NESTED):
        level = [inner for one in level for inner in _parts(one)]
        if not level:
            return True
    return False


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else ()


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is given twice")
    return value


def _braced(text: str) -> Iterator[str]:
    """Each outermost {...}, braces inside quotes not counted."""
    depth, start, quote, skip = 0, 0, "", False
    for at, char in enumerate(text):
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif depth and char == '"':
            quote = char
        elif char == "{":
            start = at if not depth else start
            depth += 1
        elif char == "}" and depth:
            depth -= 1
            if not depth:
                yield text[start : at + 1]


def _last_field(text: str, field: str) -> object:
    """The field of an object whose other values are badly quoted: only as its very last, and named nowhere else.

    >>> _last_field("{'why': 'it's fine', 'is_bad': 0}", "is_bad")
    '0'
    """
    mention = rf"""["']{re.escape(field)}["']\s*:"""
    last = re.search(rf"""{mention}\s*["']?([^\s"'{{}}\[\],]+)["']?\s*}}\s*(?:```\s*)?$""", text)
    return last[1] if last and len(re.findall(mention, text)) == 1 else MISSING


def parse_label(text: str, labels: Mapping[str, str], field: str | None = None) -> Label | Unparsed:
    """The answer's label. `labels` maps the identities of their spellings to labels; with `field`, it is that field of an object.

    >>> known = {"0": "0", "1": "1", "true": "1"}
    >>> parse_label('```json\\n{"is_bad": true}\\n```', known, "is_bad")
    Label(value='1')
    >>> parse_label("I cannot help with that.", known)
    Unparsed(reason="'i cannot help with that' is none of the labels")
    """
    value: object = text
    if field is not None:
        answer = parse_object(text)
        value = _last_field(text, field) if isinstance(answer, Unparsed) else answer.get(field, MISSING)
        if value is MISSING:
            return answer if isinstance(answer, Unparsed) else Unparsed(f"no field {field!r}")
        if isinstance(value, dict | list) or value is None:
            return Unparsed(f"field {field!r} holds no label")
    elif spelling.identity(text) not in labels:
        fenced = FENCE.fullmatch(text.strip())
        value = LEAD.sub("", (fenced[1] if fenced else text).strip())
    label = spelling.find(labels, value)
    if label is not None:
        return Label(label)
    said = spelling.plain(value)
    return Unparsed(f"{said[:60]!r} is none of the labels" if said else "empty")
