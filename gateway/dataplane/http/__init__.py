"""Bytes: HTTP/1.1 towards clients and upstreams, server-sent events, and how a failed call is told."""
