"""Rollouts, their evidence and their events as they are kept in the state store."""
