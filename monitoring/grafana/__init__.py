"""Dashboards as code: `python -m monitoring.grafana` writes dashboards/*.json, which are committed. Not used at run time."""
