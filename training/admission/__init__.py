"""Admission: what a trained adapter must prove, on disk and in a running engine, before it may serve."""
