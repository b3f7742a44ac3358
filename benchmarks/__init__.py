"""The benchmark: Graduand and its peers, in one run on one machine, pinned alike. Run it as `python -m benchmarks`."""
