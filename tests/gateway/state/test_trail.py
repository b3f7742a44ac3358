"""The audit trail's hash chain, by every backend: what it covers, and that stores of an earlier version get theirs."""

from dataclasses import replace

import pytest

from graduand.gateway.state import trail
from graduand.gateway.state.store import StateStore
from tests.gateway.state.conftest import Open
from tests.gateway.state.test_store import ROUTE


def change(store: StateStore, times: int) -> None:
    for weight in range(times):
        store.change_route(ROUTE, who="ann", weight_bp=weight)


def test_every_event_has_a_hash_that_follows_from_the_one_before(store: StateStore) -> None:
    change(store, 4)
    links = store.trail(1)
    assert [one.number for one in links] == [1, 2, 3, 4]
    assert trail.broken(links) is None
    assert trail.broken(store.trail(3)) is None
    events = store.events()
    assert [(event["number"], event["hash"]) for event in events] == [(one.number, one.hash) for one in links[::-1]]


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("how", ["changed", "deleted", "doubled", "swapped"])
def test_what_is_done_to_an_event_shows(store: StateStore, at: int, how: str) -> None:
    change(store, 4)
    links = store.trail(1)
    other = (at + 1) % 4
    match how:
        case "changed":
            links[at] = replace(links[at], event=links[at].event.replace("ann", "bob"))
        case "deleted":
            links[at : at + 1] = []
        case "doubled":
            links.insert(at, links[at])
        case "swapped":
            links[at], links[other] = links[other], links[at]
    if (at, how) in ((0, "deleted"), (3, "deleted")):  # a chain that begins later or ends earlier is whole in itself
        assert [one.number for one in links] != [1, 2, 3, 4]
    else:
        assert trail.broken(links) is not None


def test_a_store_of_an_earlier_version_gets_its_chain(store: StateStore, opened: Open) -> None:
    change(store, 3)
    known = store.trail(1)
    with store.transaction():  # as that version left it
        store.hashes.drop(trail.KEY)
        store.hashes.unset("meta", ["linked", "linked:hash"])
    assert store.trail(1) == []
    again = opened()
    again.found()
    assert again.trail(1) == known
    with again.transaction():  # and wrote on beside this one
        number = again.hashes.next("meta", "events")
        again.hashes.set("events", str(number), '[1.0, "state", "old", {}]')
    assert len(again.trail(1)) == 3
    change(again, 1)
    assert [one.number for one in again.trail(1)] == [1, 2, 3, 4, 5]
    assert trail.broken(again.trail(1)) is None


def test_events_that_are_not_kept_are_no_gap(store: StateStore) -> None:
    store.events_kept = 3
    change(store, 8)
    assert [one.number for one in store.trail(1)] == [6, 7, 8]
    assert trail.broken(store.trail(1)) is None
