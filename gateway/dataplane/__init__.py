"""The data plane: what stands between a client's request and its answer, one process a core.

Reads a versioned route table; never waits for the state store, the controller or the log. No framework on this path:
`server` and `upstream` speak HTTP/1.1 on asyncio protocols, and one `Exchange` is one request's life as linear code.
"""
