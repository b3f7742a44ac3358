"""Where each adapter stands on each replica, as the manager leaves it in the state store for workers, admin plane and metrics.

One document an adapter and upstream. Without one nobody manages it: its requests go to any replica, as they do for models
that engines were started with. With one they go where the adapter is ready, and nowhere else; a manager that has died
leaves it as it was.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from graduand.gateway.model.routes import RouteTable
from graduand.gateway.state.documents import Documents, key_of
from graduand.gateway.state.store import StateStore

# After so many seconds a failed attempt is repeated; it doubles with each.
RETRY_S, LONGEST_RETRY_S = 5.0, 300.0

KIND, USED = "fleet", "fleet-used"
# The lease of the one manager that does something, where several gateways share a store.
LEASE, LEASE_S = "fleet", 10.0


@dataclass(frozen=True, slots=True)
class Cell:
    """How an adapter stands on a replica.

    `state`: `missing` (it belongs there), `loading`, `ready` (it is asked), `draining` (it was, and answers what is under
    way), `failed` (for `reason`, tried again later), `away` (the replica is). `since` is in seconds; `attempts` have
    failed in a row.
    """

    state: str
    since: float
    reason: str = ""
    attempts: int = 0

    def after(self, error: BaseException | None, now: float) -> "Cell":
        """Once the replica has done what it was asked, or has failed at it."""
        if error is None:
            return Cell("ready", now)
        if self.state == "draining":  # could not be unloaded: tried again as long as it is not wanted
            return replace(self, reason=str(error))
        return Cell("failed", now, str(error) or type(error).__name__, self.attempts + 1)

    def retry_at(self) -> float:
        """When a failed attempt is repeated."""
        return self.since + min(RETRY_S * 2.0 ** min(max(self.attempts - 1, 0), 20), LONGEST_RETRY_S)


Adapter = tuple[str, str]  # its upstream and its name
Places = dict[Adapter, dict[str, Cell]]  # of an adapter, by replica


def read(documents: Documents) -> Places:
    """Every managed adapter, and where it is or should be."""
    return {_adapter(key): {url: Cell(*cell) for url, cell in one.items()} for key, one in documents.all(KIND).items()}


def write(documents: Documents, old: Places, new: Places) -> None:
    """Store what changed."""
    for adapter in old.keys() - new.keys():
        documents.drop(KIND, key_of(*adapter))
    for adapter, cells in new.items():
        if old.get(adapter) != cells:
            documents.write(KIND, key_of(*adapter), {url: _row(cell) for url, cell in sorted(cells.items())})


def used(documents: Documents) -> dict[Adapter, tuple[float, float]]:
    """When each adapter was last asked, and how much, by all gateways."""
    return {_adapter(key): (float(one["at"]), float(one["weight"])) for key, one in documents.all(USED).items()}


def write_used(documents: Documents, adapter: Adapter, at: float, weight: float) -> None:
    """An adapter was asked; `weight` counts its requests, the older the less."""
    documents.write(USED, key_of(*adapter), {"at": at, "weight": round(weight, 3)})


def forget_used(documents: Documents, adapters: Iterable[Adapter]) -> None:
    """These are not there any more."""
    for adapter in adapters:
        documents.drop(USED, key_of(*adapter))


def ready(places: Mapping[Adapter, Mapping[str, Cell]]) -> dict[Adapter, frozenset[str]]:
    """By managed adapter, the replicas that may be asked for it."""
    return {
        adapter: frozenset(url for url, cell in cells.items() if cell.state == "ready")
        for adapter, cells in places.items()
    }


def standing(places: Mapping[Adapter, Mapping[str, Cell]]) -> Mapping[tuple[str, ...], int]:
    """By upstream and state, how many places."""
    return Counter((upstream, cell.state) for (upstream, _), cells in places.items() for cell in cells.values())


def with_places(table: RouteTable, state: StateStore) -> RouteTable:
    """The table with where its adapters are ready, as the store says now."""
    return replace(table, ready=ready(read(Documents(state))))


def belongs(cells: Mapping[str, Cell]) -> list[str]:
    """The replicas on which an adapter should be."""
    return [url for url, cell in cells.items() if cell.state != "draining"]


def _row(cell: Cell) -> list[str | float]:
    return [cell.state, cell.since, cell.reason, cell.attempts]


def _adapter(key: str) -> Adapter:
    upstream, name = key.split("\t")
    return upstream, name
