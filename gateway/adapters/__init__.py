"""LoRA adapters: what one is on disk, its admission, and its residency on upstreams."""
