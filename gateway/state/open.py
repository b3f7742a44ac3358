"""Opens the state store that a configuration names: the one place that knows both kinds."""

from pathlib import Path
from urllib.parse import urlsplit

from graduand.gateway.model.routes import Settings
from graduand.gateway.state.store import StateStore


def open_state(settings: Settings) -> StateStore:
    """The store that the configuration names."""
    if settings.state.startswith("sqlite:"):
        from graduand.gateway.state.sqlite import SqliteStore

        return SqliteStore(local_path(settings.state))
    from graduand.gateway.state.redis_store import RedisStore

    return RedisStore.of(settings)


def local_path(url: str) -> Path:
    """The path of a `file:///` or `sqlite:///` address; `///./x` is relative to the working folder."""
    path = urlsplit(url).path
    return Path(path[1:]) if path.startswith("/./") else Path("/" + path.lstrip("/"))
