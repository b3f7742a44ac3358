"""What a call to the admin plane is given: the settings in force, the stores that they name, and who asks.

A router names what it needs in a handler's signature (`state: StateHere`); stores are opened for the call and closed after it.
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import BaseModel, ConfigDict

from graduand.gateway.control.store.open import open_rollouts
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.model.routes import Settings
from graduand.gateway.state.open import open_state
from graduand.gateway.state.store import StateStore
from graduand.monitoring.metrics import Metrics, Totals


class Configuration:
    """The settings in force; replaced whole on reload. `metrics` are this process's own; without them it counts nothing."""

    def __init__(self, settings: Settings, totals: Totals, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.totals = totals
        self.metrics = metrics


class Body(BaseModel):
    """A request's body. Unknown fields are refused, with the nearest known one (gateway.admin.errors)."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def _configuration(request: Request) -> Configuration:
    found: Configuration = request.app.state.configuration
    return found


ConfigurationHere = Annotated[Configuration, Depends(_configuration)]


def _settings(configuration: ConfigurationHere) -> Settings:
    return configuration.settings


SettingsHere = Annotated[Settings, Depends(_settings)]


def _state(settings: SettingsHere) -> Iterator[StateStore]:
    opened = open_state(settings)
    try:
        yield opened
    finally:
        opened.close()


def _rollouts(settings: SettingsHere) -> Iterator[Rollouts]:
    opened = open_rollouts(settings)
    try:
        yield opened
    finally:
        opened.close()


StateHere = Annotated[StateStore, Depends(_state)]
RolloutsHere = Annotated[Rollouts, Depends(_rollouts)]
WhoHere = Annotated[str, Header(alias="x-graduand-who")]
