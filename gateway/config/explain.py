"""What `graduand check` says: what a configuration does with requests, answers and the log, and what to mind."""

from collections.abc import Iterator, Mapping
from typing import Any

from graduand.gateway import address
from graduand.gateway.config import suspicions
from graduand.gateway.logs import places
from graduand.gateway.model import outbound
from graduand.gateway.model.monitors import Monitors
from graduand.gateway.model.routes import Budget, Route, Settings, Upstream
from graduand.monitoring.checks import written
from graduand.rollout.answers import tasks
from graduand.rollout.answers.judge import family


def explained(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Lines of text: where it listens, its state, its upstreams, its routes and its log; `environ` may name a proxy."""
    yield f"clients: {_url(settings.listen)}/v1 on {settings.workers} worker(s); admin plane: {_url(settings.admin)}"
    yield f"state: {settings.state}" + (", with a password" if settings.state_password else "")
    yield f"client keys: {_clients(settings)}"
    for upstream in settings.upstreams.values():
        yield _upstream(upstream, environ)
    for route in settings.routes.values():
        says = (explain(route), explain_checks(route), explain_monitors(route.monitors))
        yield f"route {route.name}: {'; '.join(says)}"
    yield from _of_log(settings)


def warnings(settings: Settings) -> list[str]:
    """What will work, but perhaps not as meant."""
    judges = [f"route {one.name}: {text}" for one in settings.routes.values() for text in about_judge(one.task, one)]
    return [*suspicions.of_settings(settings), *judges]


def _clients(settings: Settings) -> str:
    keys = settings.client_keys
    return "none asked for" if keys is None else f"{len(keys)} known: {', '.join(one.name for one in keys)}"


def _upstream(upstream: Upstream, environ: Mapping[str, str]) -> str:
    says = [upstream.kind, "with a key" if upstream.api_key else "without a key"]
    for what, extras in (("header", upstream.headers), ("query", upstream.query)):
        if extras:
            says.append(f"{what} {', '.join(one.name for one in extras)}")
    proxies = {outbound.proxy_of(upstream, replica, environ) for replica in upstream.replicas}
    says += [f"through the proxy {one.address}" for one in proxies if one is not None]
    return f"upstream {upstream.name} ({', '.join(says)}): {', '.join(replica.url for replica in upstream.replicas)}"


def about_judge(task: dict[str, Any] | None, route: Route) -> list[str]:
    """What there is to say against the judge of a task."""
    judge = tasks.read(task).judge if task is not None else None
    if judge is None or family(judge.model) != family(route.teacher.model):
        return []
    return [
        f"the judge {judge.model} is of the teacher's own family ({route.teacher.model}): judges favour answers of their "
        "own kind, so a student may look worse than it is; another vendor's model is the better judge"
    ]


def explain_checks(route: Route) -> str:
    """One sentence on how a route's answers are checked."""
    armed, behind = written.of_route(route.checks, route.task), route.falls_back
    if armed and route.student is None:
        return f"of its answers {', '.join(one.name for one in armed)} are only logged and counted"
    return written.explain(armed, release=route.release, fallback_behind=behind)


def explain(route: Route) -> str:
    """One sentence on what a route does with a request."""
    teacher = f"the teacher {route.teacher.model} ({route.teacher.upstream})"
    asked = route.asked_student
    if asked is None:
        return f"{teacher} answers everything"
    student = f"the student {asked.adapter} ({asked.upstream})"
    fallback = f", {teacher} when it fails" if route.falls_back else ", errors when it fails"
    shadow = f"; {route.shadow_bp / 100:g}% of the teacher's requests are copied to the student{_at_most(route.shadow_budget)}"
    if route.mode == "shadow":
        return f"{teacher} answers everything{shadow.replace('the student', student)}"
    if route.mode == "student":
        return f"{student} answers everything{fallback}"
    share = f"{student} answers {route.weight_bp / 100:g}% of units (by {route.unit}){fallback}; {teacher} the rest"
    return share + shadow


EFFECTS = {"flag": "is shown", "hold": "holds a rollout", "teacher": "gives the route to the teacher"}


def explain_monitors(monitors: Monitors) -> str:
    """One sentence on what watches a route."""
    if not monitors.on:
        return "no monitors"
    parts = []
    for name, one in monitors.on.items():
        effect = EFFECTS.get(one.action) or f"lowers the student to {(one.share_bp or 0) / 100:g}%"
        until = f", until {one.clean_requests} requests are clean" if one.auto and one.action != "flag" else ""
        parts.append(f"{name} (at most one false alarm in {one.false_alarm_every:,.0f} requests) {effect}{until}")
    by = f"reference set {monitors.folder}" if monitors.folder else "the adapter's own reference set, if it has one"
    if monitors.from_log:
        by += f", else one of the first {monitors.from_log:,} answers of the teacher"
    return f"monitors by {by}: " + "; ".join(parts)


def _at_most(budget: Budget) -> str:
    parts = ((budget.requests_per_day, "requests"), (budget.tokens_per_day, "tokens"))
    limits = " and ".join(f"{most} {unit}" for most, unit in parts if most)
    return f", at most {limits} a day" if limits else ""


def _of_log(settings: Settings) -> Iterator[str]:
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


def _url(where: tuple[str, int]) -> str:
    return f"http://{address.text(*where)}"
