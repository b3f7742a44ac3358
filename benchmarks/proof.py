"""Proof that Graduand was measured with everything on: what its own metrics counted, and that it asks for a key."""

import http.client
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import payload
from benchmarks.fleet import Fleet
from benchmarks.peers import GRADUAND, MONITORED, SHADOWING


def of(fleet: Fleet) -> dict[str, str]:
    """One sentence for each Graduand of the fleet; what cannot be read is said instead."""
    kind = "streams" if fleet.streamed else "whole answers"
    told = {}
    for row in (GRADUAND, MONITORED, SHADOWING):
        if row in fleet.servers:
            try:
                told[f"{row}, {kind}"] = f"{_counted(fleet.second_ports[row])}; {_keyless(fleet.ports[row])}"
            except (OSError, ValueError) as error:
                told[f"{row}, {kind}"] = f"its metrics could not be read: {error}"
    return told


def _counted(admin_port: int) -> str:
    with urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    totals: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            kind = sample.labels.get("arm") or sample.labels.get("outcome") or ""
            totals[sample.name, kind] = totals.get((sample.name, kind), 0.0) + sample.value
    arms = {arm: totals.get(("graduand_requests_total", arm), 0.0) for arm in ("teacher", "student")}
    share = 100 * arms["student"] / max(1.0, sum(arms.values()))
    logged = [f"{value:,.0f} {kind}" for (name, kind), value in totals.items() if name == "graduand_log_records_total"]
    copies = [
        f"{value:,.0f} {kind}" for (name, kind), value in totals.items() if name == "graduand_shadow_requests_total"
    ]
    parts = [f"{sum(arms.values()):,.0f} requests, {share:.1f}% answered by the student"]
    verdicts = sum(value for (name, _), value in totals.items() if name == "graduand_check_verdicts_total")
    parts += [f"{verdicts:,.0f} verdicts of output checks"] if verdicts else []
    seen, left = (
        sum(value for (name, _), value in totals.items() if name == f"graduand_{what}_total")
        for what in ("drift_evaluated", "monitor_shed")
    )
    parts += [f"{seen:,.0f} observations of drift detectors, {left:,.0f} records left out by them"] if seen else []
    parts += [f"log records: {', '.join(logged) or 'none'}"]
    return "; ".join([*parts, f"shadow copies: {', '.join(copies)}"] if copies else parts)


def _keyless(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", payload.small(), {"content-type": "application/json"})
        return f"a request without a key is answered with {connection.getresponse().status}"
    finally:
        connection.close()
