"""The fleet manager: which adapters are on which replicas, loaded, proven, warm, and only then asked."""
