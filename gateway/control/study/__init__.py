"""What a log says before a rollout starts: plans, replays, trade-offs."""
