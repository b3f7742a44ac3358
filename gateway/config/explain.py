"""What `graduand check` says about the log: where it goes, what is taken out, and what happens when there is no room."""

from collections.abc import Iterator

from graduand.gateway.logs import places
from graduand.gateway.model.routes import Settings


def explained(settings: Settings) -> Iterator[str]:
    """Lines of text."""
    policy = settings.record
    yield f"log: records wait in {places.spool(settings)}, and go to {settings.logs} every {policy.seal_s:g} s as Parquet"
    kinds = [*policy.redact, *(name for name, _ in policy.patterns), *(["presidio"] if policy.presidio else [])]
    if kinds:
        yield f"log: taken out before anything is written: {', '.join(kinds)}"
    else:
        yield "log: nothing is taken out; prompts and answers are kept as they are (record.redact)"
    size = "the disk" if policy.spool_mb is None else f"{policy.spool_mb} MiB of spool"
    what = "requests are refused with 503" if policy.on_full == "block" else "records are dropped and counted"
    yield f"log: when {size} is full, {what}"
    kept = "for ever" if policy.keep_days is None else f"for {policy.keep_days} days"
    yield f"log: parts are kept {kept}"
    for route in settings.routes.values():
        if route.record_bp < 10_000:
            yield f"route {route.name}: payloads of {route.record_bp / 100:g}% of requests are kept, of all in a rollout"
