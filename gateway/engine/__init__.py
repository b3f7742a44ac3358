"""The embedded engine: a small multi-adapter server for laptops and CI that speaks vLLM's dialect."""
