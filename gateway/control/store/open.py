"""Opens the rollouts that a configuration names."""

from collections.abc import Callable, Iterator

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.model.routes import Settings
from graduand.gateway.state.open import open_state


def open_rollouts(settings: Settings) -> Rollouts:
    """The rollouts in the store that the configuration names."""
    return Rollouts(open_state(settings))


def for_each_call(settings: Callable[[], Settings]) -> Callable[[], Iterator[Rollouts]]:
    """A FastAPI dependency: the rollouts that the configuration names, closed when the call has been answered."""

    def opened() -> Iterator[Rollouts]:
        rollouts = open_rollouts(settings())
        try:
            yield rollouts
        finally:
            rollouts.close()

    return opened
