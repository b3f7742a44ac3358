"""Azure's addresses of OpenAI's APIs: `/openai/deployments/{route}/chat/completions?api-version=…`, `/openai/v1/…`, `/openai/…`.

The dialects are those of `/v1/…`. A deployment in the path is the route, whatever the body's `model` says; the key may stand in
`api-key`. The version asked for makes no difference.
Source: Azure OpenAI's REST reference and openai-python's AzureOpenAI client.
"""

from typing import Final
from urllib.parse import unquote

import orjson

from graduand.gateway.dataplane.dialects import jsonedit
from graduand.gateway.dataplane.dialects.dialect import Addressee, Dialect, Json, Reader, Sending, Whole
from graduand.gateway.model import bounds

ROOT: Final = b"/openai/"
DEPLOYMENTS: Final = b"/openai/deployments/"


class Azure:
    """A dialect at one of Azure's addresses; `route` is the deployment in the path, None where the body names it."""

    def __init__(self, inner: Dialect, route: str | None) -> None:
        self._inner = inner
        self._route = route
        self.endpoint: str = inner.endpoint
        self.forwards: tuple[bytes, ...] = inner.forwards

    def credential(self, headers: dict[bytes, bytes]) -> bytes:
        key = headers.get(b"api-key")
        return self._inner.credential(headers) if key is None else b"Bearer " + key

    def parse(self, body: bytes) -> Json:
        if self._route is None:
            return self._inner.parse(body)
        return self._inner.parse(_named(body, orjson.dumps(self._route)))

    def streams(self, data: Json) -> bool:
        return self._inner.streams(data)

    def sending(self, body: bytes, data: Json, to: Addressee, *, scored: bool) -> Sending:
        return self._inner.sending(_named(body, to.model_json), data, to, scored=scored)

    def scorable(self, data: Json, to: Addressee) -> bool:
        return self._inner.scorable(data, to)

    def watchable(self, data: Json) -> bool:
        return self._inner.watchable(data)

    def whole(self, body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
        return self._inner.whole(body, headers, by)

    def shown(self, whole: Whole, data: Json, *, scored: bool) -> bytes:
        return self._inner.shown(whole, data, scored=scored)

    def reader(self, data: Json, by: Addressee, *, scored: bool) -> Reader:
        return self._inner.reader(data, by, scored=scored)

    def error(self, body: bytes, status: int) -> bytes:
        return self._inner.error(body, status)

    def error_event(self, body: bytes, events: int) -> bytes:
        return self._inner.error_event(body, events)


def at(path: bytes, dialects: dict[bytes, Dialect]) -> Azure | None:
    """The dialect at one of Azure's paths; `dialects` are those at ours. None if there is none."""
    route = None
    if path.startswith(DEPLOYMENTS):
        name, _, rest = path[len(DEPLOYMENTS) :].partition(b"/")
        route = unquote(name.decode("latin-1"))
    else:
        rest = path[len(ROOT) :].removeprefix(b"v1/")
    inner = dialects.get(b"/v1/" + rest)
    return None if inner is None or route == "" else Azure(inner, route)


def _named(body: bytes, model: bytes) -> bytes:
    """The body with this model; what is no object stays as it is, for the dialect to refuse."""
    try:
        bounds.check_request(body)
        is_object = type(orjson.loads(body)) is dict
    except ValueError:
        is_object = False
    return jsonedit.set_member(body, "model", model) if is_object else body
