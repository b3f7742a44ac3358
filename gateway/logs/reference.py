"""The table of fields in docs/logs.md, made from what is declared: `python -m graduand.gateway.logs.reference` writes it."""

import re
from pathlib import Path
from typing import Any, get_args, get_origin, is_typeddict

from graduand.gateway.model import fields

PAGE = Path(__file__).resolve().parents[2] / "docs" / "logs.md"
PLACE = re.compile(r"(<!-- fields: .*? -->\n).*?(<!-- end of fields -->\n)", re.DOTALL)
HEAD = "| field | type | what it says |\n|---|---|---|\n"
TYPES = {str: "text", int: "whole number", float: "number", bool: "yes or no"}


def page(text: str) -> str:
    """The page with the fields of a record as they are now."""
    return PLACE.sub(lambda found: found[1] + table(fields.TABLES["log"]) + found[2], text)


def table(declared: type) -> str:
    """One row a field."""
    return HEAD + "".join(map(_row, fields.of(declared)))


def _row(one: fields.Declared) -> str:
    null = ", or null" if one.nullable else ""
    return f"| `{one.name}` | {_type(one.type)}{null} | {one.field.about} |\n"


def _type(kind: Any) -> str:
    if get_origin(kind) is list:
        return f"list of {_type(get_args(kind)[0])}"
    if is_typeddict(kind):
        return f"`{{{', '.join(one.name for one in fields.of(kind))}}}`"
    return TYPES[kind]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
    print(PAGE)
