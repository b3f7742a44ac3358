"""What is changed at run time: compare-and-swap, reset, audit, and two processes at once; by every backend."""

import threading
from dataclasses import replace

import pytest

from graduand.gateway.model.routes import Route, Student, Teacher
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.store import Conflict, StateStore
from tests.gateway.state.conftest import Open

ROUTE = Route("triage", Teacher("openai", "gpt-4o"), Student("gpu", "triage@3f9c1a"), mode="teacher", weight_bp=0)
ROUTES = {"triage": ROUTE, "other": replace(ROUTE, name="other")}


def test_nothing_changed(store: StateStore) -> None:
    assert store.table(ROUTES).routes == ROUTES


def test_a_change_wins_over_the_file_and_leaves_other_routes(store: StateStore, opened: Open) -> None:
    before = store.version()
    assert store.change_route(ROUTE, who="ann", mode="canary", weight_bp=1000) == 2
    assert store.change_route(ROUTE, who="ann", weight_bp=0) == 3
    again = opened()  # kept, and seen by others
    table = again.table(ROUTES)
    assert table.version == again.version() == before + 2
    assert table.routes["triage"] == replace(ROUTE, mode="canary", weight_bp=0, version=3)
    assert table.routes["other"] == ROUTES["other"]


def test_stale_version(store: StateStore) -> None:
    store.change_route(ROUTE, who="ann", version=1, weight_bp=100)
    version = store.version()
    with pytest.raises(Conflict, match="at version 2, not 1") as caught:
        store.change_route(ROUTE, who="bob", version=1, weight_bp=9999)
    assert caught.value.current == 2
    assert store.table(ROUTES).routes["triage"].weight_bp == 100
    assert store.version() == version
    assert len(store.events()) == 1


def test_only_one_of_many_wins(store: StateStore, opened: Open) -> None:
    won: list[int] = []

    def change(weight: int) -> None:
        mine = opened()
        try:
            mine.change_route(ROUTE, who=str(weight), version=1, weight_bp=weight)
            won.append(weight)
        except Conflict:
            pass

    threads = [threading.Thread(target=change, args=(weight,)) for weight in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.table(ROUTES).routes["triage"].weight_bp] == won
    assert [event["who"] for event in store.events()] == [str(won[0])]


def test_reset(store: StateStore) -> None:
    store.change_route(ROUTE, who="ann", mode="canary", weight_bp=1000, adapter="triage@ffffff")
    assert store.change_route(ROUTE, who="ann", reset=True) == 3
    assert store.table(ROUTES).routes["triage"] == replace(ROUTE, version=3)
    store.change_route(ROUTE, who="ann", mode="student", weight_bp=1)
    store.change_route(ROUTE, who="ann", reset=True, mode="shadow")
    assert store.table(ROUTES).routes["triage"] == replace(ROUTE, mode="shadow", version=5)


def test_another_adapter(store: StateStore) -> None:
    store.change_route(ROUTE, who="ann", adapter="triage@ffffff")
    student = store.table(ROUTES).routes["triage"].student
    assert student == Student("gpu", "triage@ffffff")


def test_a_route_that_lost_its_student_in_the_file_is_the_teachers(store: StateStore) -> None:
    store.change_route(ROUTE, who="ann", mode="canary", weight_bp=5000, adapter="triage@ffffff")
    without = {"triage": replace(ROUTE, student=None)}
    assert store.table(without).routes["triage"].mode == "teacher"
    assert store.table(ROUTES).routes["triage"].mode == "canary"


def test_audit(store: StateStore) -> None:
    store.change_route(ROUTE, who="ann", why="looks good", weight_bp=1000)
    store.change_route(ROUTE, who="ann", weight_bp=0)
    store.add_adapter("triage@ffffff", "gpu", "/x", who="bob")
    store.remove_adapter("triage@ffffff", "gpu", who="bob")
    removed, added, down, up = store.events()
    assert (up["subject"], up["who"], up["why"], up["weight_bp"]) == ("route/triage", "ann", "looks good", 1000)
    assert down["weight_bp"] == 0
    assert (added["subject"], added["add"], removed["remove"]) == ("adapter/triage@ffffff", "/x", True)
    assert store.events(1) == [removed]


def test_adapters(store: StateStore) -> None:
    for _ in range(2):
        store.add_adapter("a@111111", "gpu", "/a", who="ann")
    store.add_adapter("a@111111", "cpu", "/a", who="ann")
    assert [(one.name, one.upstream) for one in store.adapters()] == [("a@111111", "cpu"), ("a@111111", "gpu")]
    store.remove_adapter("a@111111", "gpu", who="ann")
    assert [one.upstream for one in store.adapters()] == ["cpu"]


def test_the_base_of_an_adapter(store: StateStore) -> None:
    """It is known by the adapter's name, on whatever upstream it is."""
    store.add_adapter("a@111111", "gpu", "/a", who="ann", base="HuggingFaceTB/SmolLM2-135M")
    store.add_adapter("b@222222", "gpu", "/b", who="ann")
    assert {one.name: one.base for one in store.adapters()} == {
        "a@111111": "HuggingFaceTB/SmolLM2-135M", "b@222222": None,
    }  # fmt: skip
    assert store.table(ROUTES).bases == {"a@111111": "HuggingFaceTB/SmolLM2-135M"}
    store.remove_adapter("a@111111", "gpu", who="ann")
    assert store.table(ROUTES).bases == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1, "from_the_future": 1}'])
def test_a_route_that_this_version_cannot_read(store: StateStore, text: str) -> None:
    with store.transaction():
        store.hashes.set("routes", "triage", text)
    with pytest.raises(StateError, match="another version of Graduand"):
        store.table(ROUTES)


def test_a_mark_changes_with_every_change_and_with_nothing_else(store: StateStore, opened: Open) -> None:
    marks = [store.mark()]
    for weight in (1, 2):
        store.change_route(ROUTE, who="ann", weight_bp=weight)
        marks.append(store.mark())
    store.serves("0", 1)
    assert opened().mark() == store.mark() == marks[-1]
    assert len(set(marks)) == 3


def test_who_serves_by_what(store: StateStore) -> None:
    version = store.change_route(ROUTE, who="ann", weight_bp=1)
    assert not store.all_serve(version, 1)
    store.serves("0", -1)
    assert not store.all_serve(version, 1)
    store.serves("0", version)
    assert store.all_serve(version, 1)
    assert not store.all_serve(version, 2)
    assert list(store.served().values()) == [version]
