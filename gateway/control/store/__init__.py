"""Rollouts, their evidence and their events as they are kept, in SQLite or in Redis."""
