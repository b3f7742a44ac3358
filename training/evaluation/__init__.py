"""Evaluation: what a student answers on frozen test sets, and how much of a difference means something."""
