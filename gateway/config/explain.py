"""What `graduand check` says about the log (where it goes, what is taken out) and about what watches a route."""

from collections.abc import Iterator

from graduand.gateway.logs import places
from graduand.gateway.model.monitors import Monitors
from graduand.gateway.model.routes import Settings


def explained(settings: Settings) -> Iterator[str]:
    """Lines of text."""
    policy = settings.record
    yield f"log: records wait in {places.spool(settings)}, and go to {settings.logs} every {policy.seal_s:g} s as Parquet"
    kinds = [*policy.kinds, *(one.name for one in policy.patterns), *(["presidio"] if policy.presidio else [])]
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


DOES = {"flag": "is shown", "hold": "holds a rollout", "teacher": "gives the route to the teacher"}


def monitors(given: Monitors) -> str:
    """What watches a route, in one sentence."""
    if not given.on:
        return "no monitors"
    parts = []
    for name, one in given.on.items():
        effect = DOES.get(one.action) or f"lowers the student to {(one.share_bp or 0) / 100:g}%"
        until = f", until {one.clean_requests} requests are clean" if one.auto and one.action != "flag" else ""
        parts.append(f"{name} (at most one false alarm in {one.false_alarm_every:,.0f} requests) {effect}{until}")
    by = f"reference set {given.folder}" if given.folder else "the adapter's own reference set, if it has one"
    if given.from_log:
        by += f", else one of the first {given.from_log:,} answers of the teacher"
    return f"monitors by {by}: " + "; ".join(parts)
