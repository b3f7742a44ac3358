"""A rollout's specification: what it may say, and how a file of it is read."""
