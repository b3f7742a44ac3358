"""An embedder by its name, as a configuration file has it."""

from graduand.gateway.errors import ConfigError, did_you_mean
from graduand.monitoring.embedding.embedder import Embedder

NAMES = ("static", "minilm")


def load(name: str) -> Embedder:
    """The embedder of that name; raise ConfigError if there is none, or if what it needs is not installed."""
    if name == "static":
        from graduand.monitoring.embedding.static import StaticEmbedder

        return StaticEmbedder.load()
    if name == "minilm":
        from graduand.monitoring.embedding.minilm import MiniLM

        return MiniLM()
    hint = did_you_mean(name, NAMES) or f" There are: {', '.join(NAMES)}."
    raise ConfigError(f"there is no embedder {name!r}.{hint}")
