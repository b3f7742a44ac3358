"""Does every record reach its place, and do the state store and the traces?"""

from graduand.monitoring.grafana.panels import Board, Panel, Query, counted, rate

# A line at zero where there is nothing to count: no data would look like a panel that is broken.
REQUESTS = rate("graduand_requests", "route", "")
RECORDS = (
    Panel("Records", "Log records by outcome. Every outcome but `written` is a loss.",
          (Query(rate("graduand_log_records", "outcome", ""), "{{outcome}}"),), "wps", span=8,
          runbooks=("GraduandLogRecordsLost",)),
    Panel("Not yet on disk", "Bytes that wait in the workers' memory.",
          (Query("graduand_log_pending_bytes", "waiting"),), "bytes", span=8, runbooks=("GraduandLogRecordsLost",)),
    Panel("Not yet at its target", "Age of the oldest record that is on this disk only.",
          (Query("max(graduand_log_lag_seconds) or vector(0)", "lag"),), "s", span=8, limits=(300, 900),
          runbooks=("GraduandLogLag",)),
    Panel("Parts", "Parts of the log sealed, uploaded, failed and deleted.",
          (Query(counted("graduand_log_parts", "outcome", ""), "{{outcome}}"),), "ops", span=8,
          runbooks=("GraduandLogUploadsFailing",)),
    Panel("Waiting on disk", "Bytes of log that wait for their upload.",
          (Query("max(graduand_log_waiting_bytes) or vector(0)", "waiting"),), "bytes", span=8,
          runbooks=("GraduandLogSpoolGrowing",)),
    Panel("Redactions and feedback", "Redactions before anything was written, and feedback that came in.",
          (Query(f"{rate('graduand_redactions', 'route', '')} or 0 * {REQUESTS}", "{{route}} redacted"),
           Query(f"{rate('graduand_feedback', 'route, outcome', '')} or 0 * {REQUESTS}", "{{route}} feedback {{outcome}}")),
          "ops", span=8),
)  # fmt: skip
BESIDE = (
    Panel("State store", "Workers that can reach it.", (Query("sum(graduand_state_up)", "workers"),), "short", span=8,
          runbooks=("GraduandStateStoreAway",)),
    Panel("Last read of the state store", "Age of the oldest route table that a process works with.",
          (Query("max(graduand_state_age_seconds)", "age"),), "s", span=8, limits=(10, 60),
          runbooks=("GraduandStateStoreAway",)),
    Panel("Traces", "Records exported as spans, refused by the receiver, or dropped because the tracer was behind.",
          (Query(counted("graduand_traces", "outcome", ""), "{{outcome}}"),), "ops", span=8),
)  # fmt: skip

BOARD = Board("graduand-log", "Graduand: log", __doc__, (), (("Records", RECORDS), ("State store and traces", BESIDE)))
