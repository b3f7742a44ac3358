"""`python -m graduand.monitoring.kubernetes`: the recording rules and alerts as the Prometheus Operator reads them.

The files that Prometheus itself reads stay the source; kustomize can put a file into a ConfigMap but not into an object's
`spec`, so the object is written here. Never edit its file by hand: a test compares them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parent / "prometheus" / "rules"
TARGET = Path(__file__).resolve().parents[1] / "deploy" / "k8s" / "components" / "observability" / "rules.yaml"
HEADER = "# Written by `python -m graduand.monitoring.kubernetes` from monitoring/prometheus/rules; edit those.\n"


class _Block(yaml.SafeDumper):
    """Expressions of several lines stay readable."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Block.add_representer(str, _text)


def prometheus_rule(files: Iterable[str]) -> dict[str, Any]:
    """One PrometheusRule with the groups of these rule files' texts, in their order."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "graduand", "labels": {"release": "kube-prometheus-stack"}},
        "spec": {"groups": [group for text in files for group in yaml.safe_load(text)["groups"]]},
    }


def manifest(folder: Path) -> str:
    """The file's text for the rules of a folder."""
    rule = prometheus_rule(path.read_text("utf-8") for path in sorted(folder.glob("*.yml")))
    return HEADER + yaml.dump(rule, Dumper=_Block, sort_keys=False, width=1000, allow_unicode=True)


if __name__ == "__main__":
    TARGET.write_text(manifest(RULES), "utf-8")
    print(TARGET)
