"""Pure cores of a rollout: assignment, gates, the state machine. Nothing here does I/O."""
