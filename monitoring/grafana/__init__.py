"""Dashboards as code: `python -m graduand.monitoring.grafana` writes dashboards/*.json, which are committed.

Not used at run time.
"""
