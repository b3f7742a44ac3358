"""The APIs that clients and upstreams speak, one module each."""
