"""What the data plane's tests share: upstreams that do as they are told, and gateways in real processes."""

from collections.abc import Iterator
from typing import Any

import pytest

from graduand.gateway.state.redis_store import RedisStore
from tests.gateway.redises import RedisServer
from tests.gateway.running import Gateway
from tests.gateway.upstream import Upstream


@pytest.fixture(scope="session")
def one_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for all tests that leave it running."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis_server(one_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    """An empty Redis, which nobody has known before: so nobody waits for an objection."""
    one_redis.empty()
    monkeypatch.setattr(RedisStore, "settle_s", 0.0)
    return one_redis


class Start:
    """Starts gateways and knows which are running."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self.running: list[Gateway] = []

    def __call__(self, upstreams: dict[str, Any], routes: dict[str, Any], **more: Any) -> Gateway:
        gateway = Gateway(self._folders.mktemp("gateway"), upstreams, routes, **more)
        self.running.append(gateway)
        return gateway

    def end(self, after: int) -> None:
        """End all but the first so many, together; fail if one left a traceback behind."""
        ending, self.running = self.running[after:], self.running[:after]
        for gateway in ending:
            gateway.ask_to_end()
        for gateway in ending:
            gateway.stop()
        for gateway in ending:
            assert "Traceback" not in gateway.errors, gateway.errors


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """What a fixture of a module starts ends with the module."""
    start = Start(tmp_path_factory)
    yield start
    start.end(0)


@pytest.fixture(autouse=True)
def _own_gateways_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test starts for itself ends with the test: an idle gateway still costs the others time."""
    if "start" not in request.fixturenames:
        yield
        return
    start = request.getfixturevalue("start")
    shared = len(start.running) if isinstance(start, Start) else 0
    yield
    if isinstance(start, Start):  # a module may have a fixture of that name for what is no gateway
        start.end(shared)
