"""Seeded simulation of gates, thresholds and whole rollouts under continuous looking.

Invariant: randomness comes only from the generator that is passed in, so every figure can be had again.
"""
