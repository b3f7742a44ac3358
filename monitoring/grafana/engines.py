"""Are the engines up, full or slow, and are the adapters where they should be?"""

from graduand.monitoring.grafana.panels import UPSTREAMS, Board, Panel, Query, quantile, rate

U = 'upstream=~"$upstream"'

STATE = (
    Panel("Replicas up", "Replicas whose metrics can be read, and the number configured.",
          (Query(f"graduand_engine_up{{{U}}}", "{{upstream}}"),
           Query(f"graduand_engine_replicas{{{U}}}", "target: {{upstream}}")),
          "short", span=8, runbooks=("GraduandEngineDown",)),
    Panel("Attempts by outcome", "What became of requests sent to each upstream.",
          (Query(rate("graduand_upstream_attempts", "upstream, outcome", U), "{{upstream}}: {{outcome}}"),), "reqps", span=8,
          runbooks=("GraduandBreakerOpen",)),
    Panel("Breakers open", "Replicas taken out of rotation because they failed repeatedly, summed over workers.",
          (Query(f"sum by (upstream) (graduand_breaker_open{{{U}}})"
                f" or 0 * {rate('graduand_upstream_attempts', 'upstream', U)}", "{{upstream}}"),),
          "short", span=8, runbooks=("GraduandBreakerOpen",)),
)  # fmt: skip
LOAD = (
    Panel("Running and waiting", "Requests in the engines' batches, and those that wait for room.",
          (Query(f"graduand_engine_requests_running{{{U}}}", "{{upstream}} running"),
           Query(f"graduand_engine_requests_waiting{{{U}}}", "{{upstream}} waiting")), "short", span=8),
    Panel("Key-value cache", "In use on the fullest replica. LoRAX does not report it.",
          (Query(f"graduand_engine_cache_usage_ratio{{{U}}}", "{{upstream}}"),), "percentunit", span=8, limits=(0.8, 0.95),
          most=1),
    Panel("Tokens", "Tokens a second that the engines generated.",
          (Query(rate("graduand_engine_output_tokens", "upstream", U), "{{upstream}}"),), "short", span=8),
    Panel("First token at the engine", "From arrival at the engine: median and p95. LoRAX does not report it.",
          (Query(quantile(0.5, "graduand_engine_first_token_seconds", "upstream", U), "{{upstream}} p50"),
           Query(quantile(0.95, "graduand_engine_first_token_seconds", "upstream", U), "{{upstream}} p95")), "s"),
    Panel("Time per token at the engine", "As the engine measures it: median and p95.",
          (Query(quantile(0.5, "graduand_engine_time_per_output_token_seconds", "upstream", U), "{{upstream}} p50"),
           Query(quantile(0.95, "graduand_engine_time_per_output_token_seconds", "upstream", U), "{{upstream}} p95")), "s"),
)  # fmt: skip
ADAPTERS = (
    Panel("Adapters", "Loaded, in use, and how many fit into one batch.",
          (Query(f"graduand_engine_adapters_loaded{{{U}}}", "{{upstream}} loaded"),
           Query(f"graduand_engine_adapters_busy{{{U}}}", "{{upstream}} in use"),
           Query(f"graduand_engine_adapter_slots{{{U}}}", "target: {{upstream}} slots")), "short"),
    Panel("Where adapters are", "Replicas that list each adapter that should be loaded.",
          (Query(f"graduand_adapter_resident{{{U}}}"),), "none", "table", runbooks=("GraduandAdapterMissing",)),
    Panel("Dollars per hour", "What each upstream that is paid by the hour costs, and how much of it was idle.",
          (Query(f"3600 * rate(graduand_gpu_dollars_total{{{U}}}[$__rate_interval])", "{{upstream}}"),
           Query(f"upstream:graduand_gpu_idle:dollars_per_hour{{{U}}}", "{{upstream}} idle")), "currencyUSD"),
)  # fmt: skip
# Each gateway says what should be where, and the one that manages the fleet how it stands: every place counts once.
WANTED = f"max by (upstream, adapter) (graduand_adapter_wanted{{{U}}})"
READY = f"max by (upstream, adapter) (graduand_adapter_ready{{{U}}})"
PLACES = f"max by (upstream, state) (graduand_fleet_places{{{U}%s}})"
FLEET = (
    Panel("Adapters where they belong", "Places on replicas, over all adapters: serving, listed, wanted.",
          (Query(f"sum by (upstream) ({READY})", "{{upstream}} ready"),
           Query(f"sum by (upstream) (max by (upstream, adapter) (graduand_adapter_resident{{{U}}}))", "{{upstream}} listed"),
           Query(f"sum by (upstream) ({WANTED})", "target: {{upstream}}")), "short", span=9,
          runbooks=("GraduandAdapterMissing",)),
    Panel("Out of place",
          "Places that should serve an adapter and do not: it is loading, it failed, or the replica is unreachable.",
          (Query(f"sum by (upstream) ({WANTED} - {READY})", "{{upstream}}"),), "short", "stat", span=3, limits=(1, 3),
          runbooks=("GraduandAdapterMissing",)),
    Panel("Places by state", "State of each adapter on each replica. Only ready ones get requests, draining ones are being "
          "removed, and failed ones are tried again later.",
          (Query(PLACES % "", "{{upstream}} {{state}}"),), "short", "stacked", runbooks=("GraduandAdapterMissing",)),
    Panel("Loads and losses per hour",
          "What the fleet manager did with adapters; lost is what an engine forgot. Loads and unloads"
          " that do not end: more adapters are in service than there are slots.",
          (Query(f"3600 * {rate('graduand_fleet_actions', 'upstream, outcome', U)}", "{{upstream}} {{outcome}}"),), "short"),
    Panel("Places taken of slots", "Registered adapters on all replicas, beside the slots that are configured; without `slots`,"
          " beside what fits into the engines' batches.",
          (Query("sum by (upstream) (%s)" % (PLACES % ', state=~"loading|ready|draining"'), "{{upstream}}"),
           Query(f"max by (upstream) (graduand_fleet_slots{{{U}}} or on (upstream)"
                 f" graduand_engine_adapter_slots{{{U}}} * graduand_engine_replicas{{{U}}})", "target: {{upstream}} slots")),
          "short"),
)  # fmt: skip

BOARD = Board(
    "graduand-engines", "Graduand: engines", __doc__, (UPSTREAMS,),
    (("State", STATE), ("Load", LOAD), ("Adapters and money", ADAPTERS), ("Fleet of adapters", FLEET)),
)  # fmt: skip
