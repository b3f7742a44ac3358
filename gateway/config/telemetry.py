"""The configuration keys `prices`, `gpu_hour` and `tracing`, checked: pydantic at the edge, frozen dataclasses inside."""

from importlib.util import find_spec
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from graduand.gateway.model.routes import Tracing
from graduand.monitoring.prices import Price

Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _exporter_installed() -> bool:
    try:
        return all(find_spec(name) for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        return False


class PriceSection(_Section):
    """Dollars for a million tokens of one model."""

    input: Dollars = Field(description="dollars for a million tokens of prompts")
    output: Dollars = Field(description="dollars for a million tokens of answers")
    cached_input: Dollars | None = Field(
        None, description="dollars for a million tokens that the provider had cached; without it as `input`"
    )

    def price(self) -> Price:
        """As the data plane wants it."""
        return Price(self.input, self.output, self.cached_input)


class TracingSection(_Section):
    """Where spans go."""

    endpoint: str = Field(description="an OTLP/HTTP receiver, such as `http://127.0.0.1:4318`")
    sample: float = Field(100, gt=0, le=100, description="percent of new traces; a client's own decision stands")

    def problems(self) -> list[str]:
        """What keeps it from working, in words."""
        try:
            parts = urlsplit(self.endpoint)
        except ValueError:
            parts = urlsplit("")
        found = []
        if parts.scheme not in ("http", "https") or not parts.hostname:
            # What stands before an @ may be a secret.
            shown = self.endpoint.rpartition("@")[2]
            found.append(f"tracing.endpoint: {shown!r} is not a URL such as http://127.0.0.1:4318")
        elif parts.username or parts.password:
            found.append("tracing.endpoint: a key belongs into OTEL_EXPORTER_OTLP_HEADERS, not into the URL")
        if not _exporter_installed():
            found.append("tracing: needs packages that are not installed; run pip install 'graduand[otel]'")
        return found

    def tracing(self) -> Tracing:
        """As the processes want it; OTLP/HTTP has its own path below the endpoint."""
        url = self.endpoint.rstrip("/")
        return Tracing(url if url.endswith("/v1/traces") else f"{url}/v1/traces", self.sample / 100)
