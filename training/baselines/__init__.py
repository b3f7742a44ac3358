"""Baselines: what a student must beat to be worth serving."""
