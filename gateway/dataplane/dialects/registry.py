"""Which dialect is spoken at which path: the one list of the APIs that clients may speak."""

from graduand.gateway.dataplane.dialects import azure
from graduand.gateway.dataplane.dialects.chat import CHAT
from graduand.gateway.dataplane.dialects.completions import COMPLETIONS
from graduand.gateway.dataplane.dialects.count_tokens import COUNT_TOKENS
from graduand.gateway.dataplane.dialects.dialect import Dialect
from graduand.gateway.dataplane.dialects.embeddings import EMBEDDINGS
from graduand.gateway.dataplane.dialects.lorax import GENERATE, GENERATE_EITHER, GENERATE_STREAM
from graduand.gateway.dataplane.dialects.messages import MESSAGES
from graduand.gateway.dataplane.dialects.responses import RESPONSES

DIALECTS: dict[bytes, Dialect] = {
    b"/v1/chat/completions": CHAT,
    b"/v1/completions": COMPLETIONS,
    b"/v1/embeddings": EMBEDDINGS,
    b"/v1/responses": RESPONSES,
    b"/v1/messages": MESSAGES,
    b"/v1/messages/count_tokens": COUNT_TOKENS,
    b"/generate": GENERATE,
    b"/generate_stream": GENERATE_STREAM,
    b"/": GENERATE_EITHER,
}


def at(path: bytes) -> Dialect | None:
    """The dialect that is spoken at a path without its query, also at Azure's addresses."""
    found = DIALECTS.get(path)
    return azure.at(path, DIALECTS) if found is None and path.startswith(azure.ROOT) else found
