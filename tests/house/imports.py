"""The imports between the modules of `graduand`, as a graph: circles, packages that import each other, and the wrong way up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "training", "rollout", "monitoring")
Arrow = tuple[str, str]  # importer, imported; both without `graduand.`


@dataclass(frozen=True, slots=True)
class House:
    """Every import of a module of ours by another one; imports inside functions count, those for type checkers do not."""

    modules: frozenset[str]
    arrows: frozenset[Arrow]

    @classmethod
    def read(cls) -> "House":
        """The house as the files say it now."""
        graph = grimp.build_graph("graduand", exclude_type_checking_imports=True, cache_dir=None)
        modules = {short(one): one for one in graph.modules if one != "graduand"}
        arrows = {
            (name, short(other))
            for name, full in modules.items()
            for other in graph.find_modules_directly_imported_by(full)
            if other != "graduand"
        }
        return cls(frozenset(modules), frozenset(arrows))

    def root_modules(self, package: str) -> list[str]:
        """The files directly in a package's folder, without `__init__.py`."""
        return sorted(path.stem for path in (ROOT / package).glob("*.py") if path.stem != "__init__")

    def circles(self) -> list[list[str]]:
        """Groups of modules of which each imports, perhaps through others, each other one."""
        return strong(self.modules, self.arrows)

    def mutual(self) -> list[Arrow]:
        """Pairs of packages within one of the four that import each other."""
        between = {(room(one), room(other)) for one, other in self.arrows}
        return sorted(
            (one, other)
            for one, other in between
            if one < other and (other, one) in between and one.partition(".")[0] == other.partition(".")[0]
        )

    def upward(self) -> list[Arrow]:
        """Imports that no package may have: of `gateway/` by what stands below it (its errors are anybody's), of `training/`."""
        return sorted((one, other) for one, other in self.arrows if _upward(one, other))


def _upward(one: str, other: str) -> bool:
    top, to = one.partition(".")[0], other.partition(".")[0]
    if to == "training":
        return top in ("gateway", "rollout", "monitoring")
    if to == "gateway":
        return top in ("rollout", "monitoring") and other != "gateway.errors"
    return to == "monitoring" and top == "rollout"


def short(module: str) -> str:
    """A module's name as its path in the repository says it.

    >>> short("graduand.gateway.errors")
    'gateway.errors'
    """
    return module.removeprefix("graduand.")


def room(module: str) -> str:
    """The file or folder directly in one of the four packages in which a module stands.

    >>> room("gateway.control.store.open"), room("gateway.errors")
    ('gateway.control', 'gateway.errors')
    """
    return ".".join(module.split(".")[:2])


def strong(nodes: Iterable[str], arrows: Iterable[Arrow]) -> list[list[str]]:
    """The circles of a graph: its strongly connected components of more than one node.

    >>> strong("abcd", [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")])
    [['a', 'b', 'c']]
    """
    onward: dict[str, set[str]] = {node: set() for node in nodes}
    for one, other in arrows:
        onward[one].add(other)
    reached = {node: _reached(node, onward) for node in onward}
    groups = {tuple(sorted(other for other in reached[node] if node in reached[other])) for node in onward}
    return sorted([*group] for group in groups if len(group) > 1)


def _reached(start: str, onward: Mapping[str, set[str]]) -> set[str]:
    found, left = {start}, [start]
    while left:
        new = onward[left.pop()] - found
        found |= new
        left += new
    return found


def rooms(house: House, package: str) -> dict[str, Counter[str]]:
    """For each file or folder of a package, how many imports it has of each other one."""
    found: dict[str, Counter[str]] = {room(one): Counter() for one in house.modules if one.startswith(f"{package}.")}
    for one, other in house.arrows:
        if one.startswith(f"{package}.") and other.startswith(f"{package}.") and room(one) != room(other):
            found[room(one)][room(other)] += 1
    return found
