"""Watching what goes in and out: metrics, detectors, output checks."""
