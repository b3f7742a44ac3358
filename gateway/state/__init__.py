"""The run-time state: routes, adapters and who serves what. In SQLite for one machine, in Redis for several replicas."""
