"""What one API can say and another cannot: refused by its name, never left out in silence."""

from collections.abc import Collection
from typing import Any

from graduand.gateway.errors import GraduandError


class Untranslatable(GraduandError, ValueError):
    """A field of a request has no counterpart in the API of who is asked. `field` is where it stands."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"'{field}' {why}")
        self.field = field


def refuse_others(data: dict[str, Any], known: Collection[str], api: str, where: str = "") -> None:
    """Raise Untranslatable for the first member of an object that is not known and says anything (null says nothing)."""
    for name, value in data.items():
        if value is not None and name not in known:
            raise Untranslatable(where + name, f"has no counterpart in {api}")


def list_at(value: Any, where: str) -> list[Any]:
    """The list that must stand at `where`; raise Untranslatable otherwise."""
    if not isinstance(value, list):
        raise Untranslatable(where, "must be a list" if where == "tools" else "must be a string or a list")
    return value


def objects_at(value: Any, where: str) -> list[dict[str, Any]]:
    """The list of objects that must stand at `where`; raise Untranslatable otherwise."""
    found = list_at(value, where)
    for at, one in enumerate(found):
        if not isinstance(one, dict):
            raise Untranslatable(f"{where}[{at}]", "must be an object")
    return found
