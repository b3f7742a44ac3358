"""Documents by kind and key, alone and as a part of what else is written."""

import pytest

from graduand.gateway.state.documents import Documents, key_of
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.store import StateStore
from tests.gateway.state.conftest import Open


def test_documents(store: StateStore, opened: Open) -> None:
    mine, other = Documents(store), Documents(opened())
    mine.write("alarm", "b", {"at": 2})
    mine.write("alarm", "a", {"at": 1})
    assert list(other.all("alarm").items()) == [("a", {"at": 1}), ("b", {"at": 2})]
    assert (other.any("drift"), other.any("drift", "alarm")) == (False, True)
    with pytest.raises(StateError), store.transaction():
        mine.drop("alarm", "a")
        assert list(mine.all("alarm")) == ["b"]
        raise StateError("undone with what it belongs to")
    assert list(other.all("alarm")) == ["a", "b"]
    other.drop("alarm", "a")
    other.write("alarm", key_of("b", "c"), {})
    other.write("alarm", "b", {"at": 3})
    assert mine.all("alarm") == {"b": {"at": 3}, "b\tc": {}}
