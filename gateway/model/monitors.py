"""What watches a route: the configuration's `routes.NAME.monitors`. Every monitor is on and flags, unless it says otherwise."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from graduand.gateway.errors import ConfigError
from graduand.gateway.model.keys import Percent, keys_of

Action = Literal["flag", "hold", "lower", "teacher"]


def _part(points: int) -> int:
    if not 0 < points < 10_000:
        raise ConfigError("must be above 0 and below 100 percent; action teacher leaves the student nothing")
    return points


@dataclass(frozen=True, slots=True)
class Monitor:
    """One monitor: what it promises and what its alarm does."""

    false_alarm_every: Annotated[
        float, Field(ge=100, le=1e9, description="requests between false alarms, at least, on average")
    ] = 10_000
    action: Annotated[
        Action,
        Field(
            description="what an alarm does: it is shown; holds the running rollout; also lowers the student to `share`; "
            "gives the route to the teacher"
        ),
    ] = "flag"
    share_bp: Annotated[
        Annotated[Percent, AfterValidator(_part)] | None,
        Field(
            alias="share",
            description="percent that the student keeps, above 0 and below 100; for `lower`, and needed by it",
        ),
    ] = None
    resume: Annotated[Literal["person", "auto"], Field(description="who ends it: a person, or clean requests")] = (
        "person"
    )
    clean_requests: Annotated[int, Field(ge=1, le=10**12, description="for `auto`: observations without an alarm")] = (
        2_000
    )
    min_time_s: Annotated[float, Field(ge=0, description="for `auto`: and so many seconds")] = 600

    def __post_init__(self) -> None:
        if (self.action == "lower") != (self.share_bp is not None):
            raise ConfigError(
                "action lower needs share: the percent that the student keeps; the other actions take none"
            )

    @property
    def limit_bp(self) -> int | None:
        """The most that the student keeps while an alarm stands, in basis points; None: as it is."""
        return 0 if self.action == "teacher" else self.share_bp

    @property
    def auto(self) -> bool:
        """Whether clean requests end what an alarm has brought about."""
        return self.resume == "auto"


@dataclass(frozen=True, slots=True)
class FromLog:
    """A reference set made of the route's own log. So many rows it takes at least, and no more are looked at."""

    from_log: Annotated[int, Field(ge=64, le=12_000, description="answers of the teacher")]
    days: Annotated[
        int,
        Field(
            ge=0,
            le=56,
            description="spread evenly over the hours of so many days; from 7 on traffic is compared with that of the same "
            "hours of the week",
        ),
    ] = 0


def _off(value: object) -> object:
    return None if value is False else value


Switched = Annotated[Monitor | None, BeforeValidator(_off, json_schema_input_type=Monitor)]


@dataclass(frozen=True, slots=True)
class Monitors:
    """All monitors of a route. `false` turns one off."""

    reference: Annotated[
        FromLog | str | None,
        Field(description="a folder with a reference set, or how to make one; without it the adapter's own"),
    ] = None
    novelty: Annotated[Switched, Field(description="requests unlike the training data")] = Monitor()
    mix: Annotated[Switched, Field(description="known topics in another proportion")] = Monitor()
    descriptors: Annotated[Switched, Field(description="another spread of length, digits, language, template")] = (
        Monitor()
    )
    check_failures: Annotated[Switched, Field(description="failed output checks, against the teacher's")] = Monitor()
    outputs: Annotated[Switched, Field(description="failures, cut answers, another length than before")] = Monitor()

    @property
    def on(self) -> dict[str, Monitor]:
        """The monitors that are not turned off."""
        return {name: one for name in MONITORS if (one := getattr(self, name)) is not None}

    @property
    def folder(self) -> str | None:
        """The folder with a reference set that was given by hand."""
        return self.reference if isinstance(self.reference, str) else None

    @property
    def from_log(self) -> int:
        """Of how many of the log's prompts a set is made if the adapter brings none; 0: of none."""
        return self.reference.from_log if isinstance(self.reference, FromLog) else 0

    @property
    def days(self) -> int:
        """Over how many days these prompts are spread; 0: as they come."""
        return self.reference.days if isinstance(self.reference, FromLog) else 0

    @property
    def an_hour(self) -> int:
        """How many of them are taken in one hour at most."""
        return -(-self.from_log // (24 * self.days)) if self.days else self.from_log


ALL = Monitors()
MONITORS = tuple(name for name in keys_of(Monitors) if name != "reference")
