"""Do the inputs still look like the training data, and do the answers pass their checks?"""

from graduand.monitoring.grafana.panels import ROUTES, Board, Panel, Query, drift, failing, quantile, rate

R = 'route=~"$route"'

INPUTS = (
    Panel("Alarms now", "Detectors whose alarm is active.",
          (Query(f"sum(graduand_drift_alarm_active{{{R}}}) or vector(0)"),), "none", "stat", 6, 4, (1, 2),
          runbooks=("GraduandDriftAlarm",)),
    Panel("Evaluated", "Requests a second that detectors have evaluated.",
          (Query(f"sum(rate(graduand_drift_evaluated_total{{{R}}}[$__rate_interval]))"),), "reqps", "stat", 6, 4),
    Panel("Lag", "Age of the newest request that detectors have seen.",
          (Query("max(graduand_monitor_lag_seconds) or vector(0)"),), "s", "stat", 6, 4, (60, 300),
          runbooks=("GraduandMonitorLag",)),
    Panel("Verdicts that acted", "Holds, lowered shares and returns to the teacher, over the time shown.",
          (Query(f"sum(increase(graduand_verdict_actions_total{{{R}}}[$__range])) or vector(0)"),), "short", "stat", 6, 4),
    Panel(
        "Drift", "Each detector's value as a share of the threshold at which it alarms, drawn up to 200%.",
        (Query(drift(R), "{{route}} {{monitor}}"),),
        "percentunit", limits=(0.5, 1), runbooks=("GraduandDriftAlarm",),
    ),
    Panel("Alarms", "Alarms raised over the time shown, by detector.",
          (Query(f"sum by (route, monitor) (increase(graduand_drift_alarms_total{{{R}}}[$__range]))"
                f" or 0 * sum by (route, monitor) (increase(graduand_drift_evaluated_total{{{R}}}[$__range]))",
                "{{route}} {{monitor}}"),),
          "short"),
)  # fmt: skip
OUTPUTS = (
    Panel(
        "Answers that fail a check", "Share of answers on which a check triggered, by arm: only the student's, or both?",
        (Query(failing("arm, check", R),
               "{{arm}}: {{check}}"),), "percentunit", runbooks=("GraduandCheckFailures",),
    ),
    Panel("Actions", "What followed from checks: fall back to the teacher, flag, or block.",
          (Query(f"{rate('graduand_check_actions', 'check, action', R)}"
                f" or 0 * sum by (check) (rate(graduand_check_verdicts_total{{{R}}}[$__rate_interval]))",
                "{{check}}: {{action}}"),), "reqps"),
    Panel(
        "Checks that failed themselves", "Errors and time-outs; both count as triggers.",
        (Query(f'sum by (check, outcome) (rate(graduand_check_verdicts_total{{{R}, outcome=~"error|timeout"}}'
               "[$__rate_interval])) or 0 * sum by (check) (rate(graduand_check_verdicts_total[$__rate_interval]))",
               "{{check}}: {{outcome}}"),), "reqps", runbooks=("GraduandChecksBroken",),
    ),
    Panel("Time of a check, p95", "What each check adds to an answer that waits for it.",
          (Query(quantile(0.95, "graduand_check_seconds", "check", ""), "{{check}}"),), "s"),
)  # fmt: skip

BOARD = Board(
    "graduand-quality", "Graduand: drift and outputs", __doc__, (ROUTES,), (("Inputs", INPUTS), ("Outputs", OUTPUTS)),
    since="now-12h",
)  # fmt: skip
