"""Fit for a student? One page before anything is trained."""
