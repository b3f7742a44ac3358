"""What the data plane's tests share: upstreams that do as they are told, and gateways in real processes."""

from collections.abc import Callable, Iterator
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


Start = Callable[..., Gateway]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts gateways; ends them, and fails if one left a traceback behind."""
    started: list[Gateway] = []

    def start(upstreams: dict[str, Any], routes: dict[str, Any], **more: Any) -> Gateway:
        gateway = Gateway(tmp_path_factory.mktemp("gateway"), upstreams, routes, **more)
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.stop()
    for gateway in started:
        assert "Traceback" not in gateway.errors, gateway.errors
