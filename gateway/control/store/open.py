"""Opens the rollouts that a configuration names: the one place that knows both backends."""

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.model.routes import Settings
from graduand.gateway.state.open import open_state
from graduand.gateway.state.store import StateStore


def open_rollouts(settings: Settings) -> Rollouts:
    """The rollouts in the store that the configuration names."""
    return rollouts_in(open_state(settings))


def rollouts_in(state: StateStore) -> Rollouts:
    """The rollouts in a store that is open already."""
    from graduand.gateway.state.sqlite import SqliteStore

    if isinstance(state, SqliteStore):
        from graduand.gateway.control.store.sqlite import RolloutStore

        return RolloutStore(state)
    from graduand.gateway.control.store.redis import RedisRollouts
    from graduand.gateway.state.redis_store import RedisStore

    assert isinstance(state, RedisStore)
    return RedisRollouts(state)
