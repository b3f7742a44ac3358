"""Opens the rollouts that a configuration names."""

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.model.routes import Settings
from graduand.gateway.state.open import open_state


def open_rollouts(settings: Settings) -> Rollouts:
    """The rollouts in the store that the configuration names."""
    return Rollouts(open_state(settings))
