"""Opens the state store that a configuration names: the one place that knows both kinds."""

from graduand.gateway.address import local_path
from graduand.gateway.model.routes import Settings
from graduand.gateway.state.store import StateStore


def open_state(settings: Settings) -> StateStore:
    """The store that the configuration names."""
    if settings.state.startswith("sqlite:"):
        from graduand.gateway.state.sqlite import SqliteStore

        return SqliteStore(local_path(settings.state))
    from graduand.gateway.state.redis_store import RedisStore

    return RedisStore.of(settings)
