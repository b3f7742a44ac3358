"""Is anything wrong, how much does the student carry, and what does it save?"""

from graduand.monitoring.grafana.panels import ROUTES, Board, Panel, Query, counted, quantile, rate

R = 'route=~"$route"'
ERRORS = 'route=~"$route", outcome=~"error|broken"'
JUDGED = 'route=~"$route", outcome=~"ok|error|broken"'

NOW = (
    Panel(
        "Requests", "Requests a second that were answered, on all chosen routes.",
        (Query(f"sum(rate(graduand_requests_total{{{R}}}[$__rate_interval]))"),), "reqps", "stat", 4, 4,
    ),
    Panel(
        "Errors", "Share of requests that ended in an error or broke off. The objective is 0.1%; 1.44% pages.",
        (Query(f"(sum(rate(graduand_requests_total{{{ERRORS}}}[$__rate_interval])) or vector(0))"
               f" / sum(rate(graduand_requests_total{{{JUDGED}}}[$__rate_interval]))"),),
        "percentunit", "stat", 4, 4, (0.001, 0.0144),
        runbooks=("GraduandErrorsFastBurn", "GraduandErrorsSlowBurn"),
    ),
    Panel(
        "First token, p95", "95 of 100 answers begin within this time. The objective is 99% within 2.5 s.",
        (Query(quantile(0.95, "graduand_time_to_first_token_seconds", "", R)),), "s", "stat", 4, 4, (1, 2.5),
        runbooks=("GraduandSlownessFastBurn",),
    ),
    Panel(
        "Answered by students", "Share of answers that a student gave, over the time shown.",
        (Query(f'(sum(increase(graduand_requests_total{{{R}, arm="student", outcome="ok"}}[$__range])) or vector(0))'
               f' / sum(increase(graduand_requests_total{{{R}, outcome="ok"}}[$__range]))'),),
        "percentunit", "stat", 4, 4,
    ),
    Panel(
        "Saved per hour", "What the teacher would have cost, less students, copies, audits and idle hours; all routes.",
        (Query("graduand_net_saved:dollars_per_hour"),), "currencyUSD", "stat", 4, 4, (0, 0.0001), falling=True,
        runbooks=("GraduandSavingNegative",),
    ),
    Panel(
        "Alerts", "Alerts that fire now.",
        (Query('count(ALERTS{alertname=~"Graduand.+", alertstate="firing"}) or vector(0)'),), "none", "stat", 4, 4,
        (1, 3),
    ),
)  # fmt: skip
TRAFFIC = (
    Panel("Requests by arm", "Who answered.", (Query(rate("graduand_requests", "arm", R), "{{arm}}"),), "reqps", "stacked"),
    Panel(
        "Student's share by route", "Share of answers that the student gave.",
        (Query(f'sum by (route) (rate(graduand_requests_total{{{R}, arm="student"}}[$__rate_interval]))'
               f" / sum by (route) (rate(graduand_requests_total{{{R}}}[$__rate_interval]))", "{{route}}"),),
        "percentunit", most=1,
    ),
    Panel(
        "Errors by cause", "Requests without a whole answer, and those refused before any model was asked.",
        (Query(counted("graduand_request_errors", "arm, cause", R), "{{arm}}: {{cause}}"),
         Query(counted("graduand_rejected_requests", "cause", ""), "refused: {{cause}}")),
        "reqps", runbooks=("GraduandErrorsFastBurn", "GraduandErrorsMediumBurn"),
    ),
    Panel(
        "Fallbacks by cause", "The student failed and the teacher answered; the client saw nothing but the time.",
        (Query(counted("graduand_fallbacks", "route, cause", R), "{{route}}: {{cause}}"),), "reqps",
        runbooks=("GraduandFallbacksHigh",),
    ),
)  # fmt: skip
SPEED = (
    Panel(
        "First token", "From a request's arrival to the first byte of its answer: median and p95.",
        (Query(quantile(0.5, "graduand_time_to_first_token_seconds", "arm", R), "{{arm}} p50"),
         Query(quantile(0.95, "graduand_time_to_first_token_seconds", "arm", R), "{{arm}} p95")),
        "s", span=8, runbooks=("GraduandSlownessFastBurn", "GraduandSlownessMediumBurn"),
    ),
    Panel(
        "Whole answer", "From a request's arrival to the end of its answer: median and p95.",
        (Query(quantile(0.5, "graduand_request_duration_seconds", "arm", R), "{{arm}} p50"),
         Query(quantile(0.95, "graduand_request_duration_seconds", "arm", R), "{{arm}} p95")), "s", span=8,
    ),
    Panel(
        "Time per output token", "Between two tokens of streamed answers: median and p95.",
        (Query(quantile(0.5, "graduand_time_per_output_token_seconds", "arm", R), "{{arm}} p50"),
         Query(quantile(0.95, "graduand_time_per_output_token_seconds", "arm", R), "{{arm}} p95")), "s", span=8,
    ),
    Panel(
        "Tokens", "Tokens a second by usage.",
        (Query(rate("graduand_input_tokens", "arm", R), "{{arm}} in"),
         Query(rate("graduand_output_tokens", "arm", R), "{{arm}} out")), "short", span=8,
    ),
    Panel(
        "Added by the gateway", "From a request's arrival until it was sent on: median and p99.",
        (Query(quantile(0.5, "graduand_overhead_seconds", "", R), "p50"),
         Query(quantile(0.99, "graduand_overhead_seconds", "", R), "p99")), "s", span=8,
    ),
    Panel(
        "In flight", "Requests being answered, copies waiting or in flight, and replicas out of rotation (open breakers).",
        (Query("graduand_in_flight_requests", "requests"), Query("graduand_shadow_queue", "copies"),
         Query("sum(graduand_breaker_open) or vector(0)", "breakers open")), "short", span=8, runbooks=("GraduandBreakerOpen",),
    ),
)  # fmt: skip

BOARD = Board(
    "graduand-overview", "Graduand: overview", __doc__, (ROUTES,),
    (("Now", NOW), ("Traffic", TRAFFIC), ("Speed", SPEED)),
)  # fmt: skip
