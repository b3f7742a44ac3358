"""Where does this route's rollout stand, what does it wait for, and is the student any worse?"""

from graduand.monitoring.grafana.panels import ROUTE, Board, Panel, Query, counted, quantile

R = 'route="$route"'
ALL = f"sum(rate(graduand_requests_total{{{R}}}[$__rate_interval]))"
ENDED = f'sum by (arm) (rate(graduand_requests_total{{{R}, outcome=~"ok|error|broken"}}[$__rate_interval]))'

STANDS = (
    Panel(
        "Phase", "The newest rollout's phase; hold and rolling back need a look.",
        (Query(f"graduand_rollout_phase{{{R}}} == 1", "{{phase}}"),), "none", "stat", 6, 4,
        runbooks=("GraduandRolloutHeld", "GraduandRolledBack", "GraduandRolloutSilent"),
    ),
    Panel("Time in step", "How long the rollout has been in this step, or on hold.",
          (Query(f"graduand_rollout_step_age_seconds{{{R}}}"),), "s", "stat", 6, 4),
    Panel("Student's share", "Share of users that the student answers, as the route table has it.",
          (Query(f'graduand_share{{{R}, arm="student"}}'),), "percentunit", "stat", 6, 4),
    Panel("Agreement", "Share of compared pairs in which student and teacher agree.",
          (Query(f"graduand_agreement{{{R}}}"),), "percentunit", "stat", 6, 4),
)  # fmt: skip
EVIDENCE = (
    Panel(
        "Agreement and its band", "The band is a 95% confidence band that stays valid however often you look.",
        (Query(f"graduand_agreement{{{R}}}", "agreement of {{adapter}}"),
         Query(f"graduand_agreement_lower{{{R}}}", "lower end"),
         Query(f"graduand_agreement_upper{{{R}}}", "upper end")), "percentunit", most=1,
    ),
    Panel(
        "Share of users", "Grows step by step as evidence comes in; drops to zero at once if the student does harm.",
        (Query(f"graduand_share{{{R}}}", "{{arm}}"),), "percentunit", "stacked", most=1,
    ),
    Panel(
        "Evidence for the student", "Decimal logarithm: 2 is a hundred to one. A step is done when all gates reach their target.",
        (Query(f'clamp_min(graduand_rollout_evidence{{{R}, gate!~"harm:.+|watch|sample_ratio"}}, -3)', "{{gate}}"),
         Query(f'graduand_rollout_evidence_threshold{{{R}, gate!~"harm:.+|watch|sample_ratio"}}', "target: {{gate}}")),
        "none", runbooks=("GraduandRolloutSilent",),
    ),
    Panel(
        "Evidence of harm",
        "Decimal logarithm, drawn from -3 up. Any that reaches its target rolls the rollout back; sample_ratio puts it on hold.",
        (Query(f'clamp_min(graduand_rollout_evidence{{{R}, gate=~"harm:.+|watch|sample_ratio"}}, -3)', "{{gate}}"),
         Query(f'graduand_rollout_evidence_threshold{{{R}, gate=~"harm:.+|watch|sample_ratio"}}', "target: {{gate}}")),
        "none", runbooks=("GraduandRolledBack",),
    ),
)  # fmt: skip
SIDE_BY_SIDE = (
    Panel(
        "Errors by arm", "Share of requests that ended in an error or broke off.",
        (Query(f'(sum by (arm) (rate(graduand_requests_total{{{R}, outcome=~"error|broken"}}[$__rate_interval]))'
               f" or 0 * {ENDED}) / {ENDED}",
               "{{arm}}"),), "percentunit", span=8,
    ),
    Panel(
        "First token by arm, p95", "From a request's arrival to the first byte of its answer.",
        (Query(quantile(0.95, "graduand_time_to_first_token_seconds", "arm", R), "{{arm}}"),), "s", span=8,
    ),
    Panel(
        "Fallbacks by cause", "The student failed and the teacher answered.",
        (Query(counted("graduand_fallbacks", "cause", R), "{{cause}}"),), "reqps", span=8,
        runbooks=("GraduandFallbacksHigh",),
    ),
    Panel(
        "Copies by outcome", "Requests copied to the other arm to compare; dropped and over_budget were not sent.",
        (Query(counted("graduand_shadow_requests", "outcome", R), "{{outcome}}"),), "reqps", span=8,
        runbooks=("GraduandShadowDrops",),
    ),
    Panel(
        "Judged", "What a judge said of the student's answers, where a judge compares.",
        (Query(counted("graduand_judge_requests", "outcome", R), "{{outcome}}"),), "reqps", span=8,
    ),
    Panel(
        "Requests without their unit", "Users that cannot stick to an arm, because the request does not name them.",
        (Query(counted("graduand_unit_missing", "route", R), "{{route}}"),), "reqps", span=8,
    ),
    Panel(
        "Requests of heavy units", "Share of requests of users with more than 20% of the traffic: such a one decides alone.",
        (Query(f"(sum(rate(graduand_unit_heavy_total{{{R}}}[$__rate_interval])) or 0 * {ALL}) / ({ALL} > 0)", "heavy"),),
        "percentunit", span=8,
        runbooks=("GraduandUnitHeavy",),
    ),
)  # fmt: skip

BOARD = Board(
    "graduand-rollout", "Graduand: rollout", __doc__, (ROUTE,),
    (("Where it stands", STANDS), ("Evidence", EVIDENCE), ("Side by side", SIDE_BY_SIDE)),
)  # fmt: skip
