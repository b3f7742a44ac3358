"""What do teacher and students cost, and what is saved when everything is counted in?"""

from graduand.monitoring.grafana.panels import ROUTES, Board, Panel, Query

R = 'route=~"$route"'
OVER = "[$__range]"

SUMS = (
    Panel("Saved", "Over the time shown: avoided, less students, copies, audits and idle hours of all routes.",
          (Query(f"sum(increase(graduand_avoided_dollars_total{OVER}))"
                 f' - (sum(increase(graduand_cost_dollars_total{{arm="student"}}{OVER}) or'
                 f' increase(graduand_cost_dollars_total{{purpose!="served"}}{OVER})) or vector(0))'
                 f" - (sum(increase(graduand_gpu_dollars_total{OVER})) or vector(0))"
                 f" + (sum(increase(graduand_gpu_used_dollars_total{OVER})) or vector(0))"),),
          "currencyUSD", "stat", 6, 4, (0, 0.0001), falling=True, runbooks=("GraduandSavingNegative",)),
    Panel("Teacher", "What the teacher's answers to clients cost over the time shown.",
          (Query(f'sum(increase(graduand_cost_dollars_total{{{R}, arm="teacher", purpose="served"}}{OVER}))'),),
          "currencyUSD", "stat", 6, 4),
    Panel("Students", "What students, their copies and audits cost over the time shown.",
          (Query(f'sum(increase(graduand_cost_dollars_total{{{R}, arm="student"}}{OVER}) or'
                 f' increase(graduand_cost_dollars_total{{{R}, purpose!="served"}}{OVER}))'),),
          "currencyUSD", "stat", 6, 4),
    Panel("Idle", "What engines paid by the hour cost over the time shown while no request used them; all routes.",
          (Query(f"sum(increase(graduand_gpu_dollars_total{OVER})) - sum(increase(graduand_gpu_used_dollars_total{OVER}))"),),
          "currencyUSD", "stat", 6, 4),
)  # fmt: skip
COURSE = (
    Panel("Teacher against students", "Dollars per hour on the chosen routes. Avoided: the teacher's price for what students "
          "answered.",
          (Query('sum(route:graduand_teacher_cost:dollars_per_hour{route=~"$route"})', "teacher"),
           Query('sum(route:graduand_student_cost:dollars_per_hour{route=~"$route"})', "student, copies and audits"),
           Query('sum(route:graduand_avoided:dollars_per_hour{route=~"$route"})', "avoided")), "currencyUSD"),
    Panel("Saved per hour", "All routes: avoided, less students, copies, audits and idle hours.",
          (Query("graduand_net_saved:dollars_per_hour", "saved"),
           Query("sum(upstream:graduand_gpu_idle:dollars_per_hour)", "of idle engines")), "currencyUSD"),
    Panel("Spent on", "Dollars per hour by arm and purpose: served answers, shadow copies, audits, answers set aside.",
          (Query(f"3600 * sum by (arm, purpose) (rate(graduand_cost_dollars_total{{{R}}}[$__rate_interval]))",
                 "{{arm}} {{purpose}}"),), "currencyUSD", "stacked"),
    Panel("Cost per 1,000 answers", "Dollars for 1,000 answers to clients, by arm.",
          (Query(f'1000 * sum by (arm) (rate(graduand_cost_dollars_total{{{R}, purpose="served"}}[$__rate_interval]))'
                 f' / sum by (arm) (rate(graduand_requests_total{{{R}, outcome="ok"}}[$__rate_interval]))', "{{arm}}"),),
          "currencyUSD"),
)  # fmt: skip
ROWS = (
    Panel("Saved by route since the gateway started", "Without idle hours, which belong to no route.",
          (Query(f"graduand_saved_dollars{{{R}}}"),), "currencyUSD", "table", 12),
    Panel("Spent by route and adapter", "Over the time shown.",
          (Query(f"sum by (route, arm, adapter) (increase(graduand_cost_dollars_total{{{R}}}{OVER}))"),),
          "currencyUSD", "table", 12),
)  # fmt: skip

BOARD = Board(
    "graduand-savings", "Graduand: teacher cost against student savings", __doc__, (ROUTES,),
    (("Total", SUMS), ("Over time", COURSE), ("By route", ROWS)), since="now-24h",
)  # fmt: skip
