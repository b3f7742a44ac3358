"""Where the alerts' runbooks are served: `python -m graduand.monitoring.runbooks` shows it, with an ADDRESS it changes it.

The one source are the `runbook_url`s of prometheus/rules/alerts.yml; dashboards and the Kubernetes object are made from
there. Only addresses that end in an alert's page are changed, whatever else a file says about the same place.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
ALERTS = HERE / "prometheus" / "rules" / "alerts.yml"
OTHERS = (
    *sorted((HERE / "prometheus" / "tests").glob("*.yml")),
    *sorted((HERE / "grafana" / "dashboards").glob("*.json")),
    HERE.resolve().parent / "deploy" / "k8s" / "components" / "observability" / "rules.yaml",
)
PAGE = re.compile(r"https?://[^\s\"']+?(?=/Graduand\w+\.md\b)")


def address(alerts: str) -> str:
    """The folder of all pages that the rules name; raise ValueError if they name several.

    >>> address("runbook_url: https://wiki.example/ops/GraduandLogLag.md")
    'https://wiki.example/ops'
    """
    found = set(PAGE.findall(alerts))
    if len(found) != 1:
        raise ValueError(f"the alerts' pages are at one address, not at {sorted(found)}")
    return str(found.pop())


def moved(text: str, to: str) -> str:
    """The text with every alert's page at another address.

    >>> moved("a https://old.example/x/GraduandLogLag.md, https://old.example/x", "https://wiki.example/ops/")
    'a https://wiki.example/ops/GraduandLogLag.md, https://old.example/x'
    """
    return PAGE.sub(lambda _: to.rstrip("/"), text)


def main(arguments: list[str]) -> int:
    """Show the address, or change it; exit code 2 if the new one is no address."""
    if not arguments:
        print(address(ALERTS.read_text("utf-8")))
        return 0
    [to] = arguments
    if not re.fullmatch(r"https?://[^\s\"'\\]+", to):
        print(f"{to!r} is no address; say where the pages are served, such as https://wiki.example/runbooks")
        return 2
    for path in (ALERTS, *OTHERS):
        path.write_text(moved(path.read_text("utf-8"), to), "utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
