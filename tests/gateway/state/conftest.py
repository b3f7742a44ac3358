"""One store for each backend; what holds for a store is tested with both."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graduand.gateway.state.redis_client import connect
from graduand.gateway.state.redis_store import RedisStore
from graduand.gateway.state.replica import ReplicaFolder
from graduand.gateway.state.sqlite import SqliteStore
from graduand.gateway.state.store import StateStore
from tests.gateway.redises import RedisServer

Open = Callable[[], StateStore]


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same store again and again, as several processes do."""
    stores: list[StateStore] = []
    server: RedisServer | None = request.getfixturevalue("redis_server") if request.param == "redis" else None

    def another() -> StateStore:
        if server is None:
            store: StateStore = SqliteStore(tmp_path / "folder" / "state.db")
        else:
            store = RedisStore(connect(server.url, None), ReplicaFolder(tmp_path / "logs"))
        store.found()
        stores.append(store)
        return store

    yield another
    for one in stores:
        one.close()


@pytest.fixture
def store(opened: Open) -> StateStore:
    return opened()
