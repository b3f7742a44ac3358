"""Markdown for reports: tables, lists and pictures. What comes from data is escaped, never interpreted."""

from collections.abc import Iterable, Sequence


def cell(value: object) -> str:
    """A value in a table: no line breaks, no bars; floats to four digits.

    >>> cell("a|b\\nc"), cell(0.87654), cell(None)
    ('a\\\\|b c', '0.8765', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(value).split()).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; each row has as many values as `head`.

    >>> print(table(("step", "rows"), [("rules", 3)]))
    | step | rows |
    |---|---|
    | rules | 3 |
    """
    lines = [head, *rows]
    texts = [f"| {' | '.join(cell(value) for value in line)} |" for line in lines]
    return "\n".join([texts[0], f"|{'---|' * len(head)}", *texts[1:]])


def as_list(items: Iterable[object]) -> str:
    """One line an item."""
    return "\n".join(f"- {cell(item)}" for item in items)


def code(text: str) -> str:
    """A short text as it is, in backquotes."""
    return f"`{text.replace('`', chr(39))}`"


def shown(text: str, most: int = 120) -> str:
    """The beginning of a text from data, on one line."""
    line = " ".join(text.split())
    return code(line if len(line) <= most else line[: most - 1] + "…")


def picture(path: str | None, what: str) -> str:
    """A picture beside the report, or nothing where none was drawn."""
    return f"![{what}]({path})" if path else ""
