"""Ablation: what fewer rows would have done, and what more would do."""
