"""Where is this adapter loaded, what does it do, how good is it, and what does it cost?"""

from graduand.monitoring.grafana.panels import ADAPTERS, ROUTES, Board, Panel, Query, drift, failing, rate

A = 'adapter=~"$adapter"'
AR = 'adapter=~"$adapter", route=~"$route"'

PLACES = (
    Panel(
        "Replicas that list it",
        "Next to them the replicas that serve it, and how many should. LoRAX loads adapters when they are asked for.",
        (Query(f"graduand_adapter_resident{{{A}}}", "{{adapter}} on {{upstream}}"),
         Query(f"graduand_adapter_ready{{{A}}}", "{{adapter}} serving on {{upstream}}"),
         Query(f"graduand_adapter_wanted{{{A}}}", "target: {{adapter}} on {{upstream}}")),
        "short", runbooks=("GraduandAdapterMissing",),
    ),
    Panel(
        "Agreement with the teacher", "Of the rollout that it is in, with the band that holds at every look.",
        (Query(f"graduand_agreement{{{AR}}}", "{{adapter}}"),
         Query(f"graduand_agreement_lower{{{AR}}}", "{{adapter}}, lower end"),
         Query(f"graduand_agreement_upper{{{AR}}}", "{{adapter}}, upper end")), "percentunit", most=1,
    ),
)  # fmt: skip
WORK = (
    Panel("Tokens answered", "Output tokens a second of answers that clients got.",
          (Query(rate("graduand_output_tokens", "adapter, route", AR), "{{adapter}} for {{route}}"),), "short", span=8),
    Panel("Tokens read", "Prompt tokens a second of requests that it answered.",
          (Query(rate("graduand_input_tokens", "adapter, route", AR), "{{adapter}} for {{route}}"),), "short", span=8),
    Panel(
        "Dollars per hour", "By purpose: served answers, copies, and answers set aside for lack of confidence.",
        (Query(f"3600 * {rate('graduand_cost_dollars', 'adapter, purpose', AR)}", "{{adapter}} {{purpose}}"),),
        "currencyUSD", span=8,
    ),
)  # fmt: skip
QUALITY = (
    Panel(
        "Answers that fail a check", "Share of answers on which a check triggered, by check.",
        (Query(failing("adapter, check", AR),
               "{{check}}: {{adapter}}"),), "percentunit", runbooks=("GraduandCheckFailures",),
    ),
    Panel(
        "Drift against its training data", "Each detector's value as a share of the threshold at which it alarms, up to 200%.",
        (Query(drift(AR), "{{monitor}}: {{adapter}}"),),
        "percentunit", limits=(0.5, 1), runbooks=("GraduandDriftAlarm",),
    ),
)  # fmt: skip

BOARD = Board(
    "graduand-adapter", "Graduand: adapter", __doc__, (ROUTES, ADAPTERS),
    (("Where it is, and how good", PLACES), ("What it does", WORK), ("Inputs and outputs", QUALITY)),
)  # fmt: skip
