"""Who is asked, for tests of dialects: without routes and a fleet."""

from graduand.gateway.dataplane.dialects.dialect import Addressee


def addressee(model: str, kind: str = "vllm") -> Addressee:
    """A model of an upstream that is never asked."""
    return Addressee(kind, model, f'"{model}"'.encode())
