"""What clients send by mistake or on purpose, over raw sockets: a 4xx in OpenAI's shape, and the process stays up."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from tests.gateway.conftest import Start
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import Client, chat, request
from tests.gateway.upstream import Place, Upstream, text_of

GOOD = json.dumps(chat("support-triage")).encode()
MB = 1 << 20


@pytest.fixture(scope="module")
def place(upstream: Upstream) -> Place:
    return upstream.place("good")


@pytest.fixture(scope="module")
def gateway(start: Start, place: Place) -> Iterator[Gateway]:
    routes = {
        "support-triage": route("up", "up", mode="teacher", unit="user"),
        "by-header": route("up", "up", mode="canary", weight=50, unit="header:X-Tenant", shadow_sample=0),
    }
    gateway = start({"up": configured(place.url)}, routes, max_body_mb=10)
    workers = gateway.worker_ids()
    yield gateway
    assert gateway.worker_ids() == workers  # nothing below ended the process


def refused(client: Client, status: int, code: str | None = None) -> dict[str, Any]:
    """The next answer is this refusal, in OpenAI's shape."""
    answer = client.read()
    assert answer.status == status, answer
    assert answer.whole
    error = answer.error
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"].endswith("_error")
    if code is not None:
        assert error["code"] == code
    return error


BODIES = [
    (b"", 400, "invalid_json"),
    (b"not json", 400, "invalid_json"),
    (b'{"model": "support-triage", "messages": [', 400, "invalid_json"),
    (b"\xff\xfe\x00", 400, "invalid_json"),
    (b"[" * 50_000, 400, "invalid_json"),
    (b"[]", 400, "invalid_json"),
    ({"messages": []}, 400, "missing_required_parameter"),
    ({"model": "support-triage"}, 400, "missing_required_parameter"),
    ({"model": 7, "messages": []}, 400, "invalid_type"),
    ({"model": "support-triage", "messages": "hi"}, 400, "invalid_type"),
    ({"model": "support-triage", "messages": [{"role": 1}]}, 400, "invalid_type"),
    ({**chat("support-triage"), "stream": "true"}, 400, "invalid_type"),
    (chat("suport-triage"), 404, "model_not_found"),
    (chat("small@../../etc/passwd"), 404, "model_not_found"),
    (chat("../../../etc/passwd"), 404, "model_not_found"),
    (chat("a\r\nx-injected: 1"), 404, "model_not_found"),
    (chat("x" * 100_000), 404, "model_not_found"),
    (chat("gpt-4o"), 404, "model_not_found"),  # an upstream's model is not a route
    (chat("small@3f9c1a0b22de"), 404, "model_not_found"),
]


@pytest.mark.parametrize(("body", "status", "code"), BODIES)
def test_bodies(gateway: Gateway, place: Place, body: Any, status: int, code: str) -> None:
    asked = place.asked
    with gateway.client() as client:
        client.post(body)
        error = refused(client, status, code)
        assert len(error["message"]) < 1000
        assert client.ask(chat("support-triage")).text == text_of("gpt-4o")  # the connection goes on
    assert place.asked == asked + 1


def test_an_unknown_model_names_the_nearest(gateway: Gateway) -> None:
    with gateway.client() as client:
        client.post(chat("suport-triag"))
        assert "Did you mean 'support-triage'?" in refused(client, 404)["message"]
        client.post(chat("zzzzzz"))
        assert "There are: by-header, support-triage." in refused(client, 404)["message"]


def test_every_refusal_has_its_record(gateway: Gateway) -> None:
    with gateway.client() as client:
        answer = client.ask(chat("nobody"))
    record = gateway.record(answer.headers["x-graduand-id"])
    assert (record["status"], record["error"], record["completed"]) == (404, "model_not_found", False)
    assert record["route"] == "unknown"


DEEP = b'{"model":"support-triage","x":' + b"[" * 500 + b"]" * 500 + b',"messages":[{"role":"user"}]}'
DEEP_MESSAGES = b'{"model":"support-triage","messages":[{"role":"user","x":' + b"[" * 500 + b"]" * 500 + b"}]}"
DEEP_OPTIONS = DEEP[:-1] + b',"stream":true,"stream_options":{"x":1}}'


@pytest.mark.parametrize("body", [DEEP, DEEP_MESSAGES, DEEP_OPTIONS], ids=["deep", "deep messages", "deep options"])
def test_deep_nesting(gateway: Gateway, body: bytes) -> None:
    with gateway.client() as client:
        answer = client.ask(body)
    assert answer.status in (200, 400), answer
    assert gateway.record(answer.headers["x-graduand-id"])["request_json"] == body.decode()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_20_mb(gateway: Gateway, chunked: bool) -> None:
    with gateway.client() as client:
        how_long = "transfer-encoding: chunked" if chunked else f"content-length: {20 * MB}"
        client.send(f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{how_long}\r\n\r\n".encode())
        piece = b"x" * MB
        try:
            for _ in range(20):
                client.send(b"%x\r\n%b\r\n" % (MB, piece) if chunked else piece)
        except ConnectionError:
            pass  # it need not read it all
        assert "10485760" in refused(client, 413)["message"]
        assert client.closed()


def test_a_large_body_within_the_limit(gateway: Gateway) -> None:
    with gateway.client() as client:
        assert client.ask(chat("support-triage", "x" * (9 * MB))).status == 200


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
BODY = b"\r\n" + GOOD
LENGTH = b"content-length: %d\r\n" % len(GOOD)
SMUGGLED = {
    "CL and TE": HEAD + LENGTH + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": HEAD + b"transfer-encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n",
    "two lengths": HEAD + LENGTH + b"content-length: 0\r\n" + BODY,
    "two equal lengths": HEAD + LENGTH + LENGTH + BODY,
    "lengths in a list": HEAD + b"content-length: 5, 5\r\n" + BODY,
    "a negative length": HEAD + b"content-length: -1\r\n" + BODY,
    "a signed length": HEAD + b"content-length: +5\r\n" + BODY,
    "a hexadecimal length": HEAD + b"content-length: 0x5\r\n" + BODY,
    "an enormous length": HEAD + b"content-length: 99999999999999999999999\r\n" + BODY,
    "no number": HEAD + b"content-length: five\r\n" + BODY,
    "obs-fold": HEAD + b"x-one: a\r\n b\r\n" + LENGTH + BODY,
    "a folded length": HEAD + b"content-length:\r\n 5\r\n" + BODY,
    "blank before colon": HEAD + b"content-length : 5\r\n" + BODY,
    "blank before name": HEAD + b" content-length: 5\r\n" + BODY,
    "no colon": HEAD + b"content-length\r\n" + BODY,
    "an empty name": HEAD + b": x\r\n" + LENGTH + BODY,
    "bare LF in a header": HEAD + b"x-one: a\nx-two: b\r\n" + LENGTH + BODY,
    "bare CR in a header": HEAD + b"x-one: a\rx-two: b\r\n" + LENGTH + BODY,
    "NUL in a header": HEAD + b"x-one: a\0b\r\n" + LENGTH + BODY,
    "TE twice": HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "TE with more": HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "TE obscured": HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a bad chunk size": HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a negative chunk size": HEAD + b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk longer than said": HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "an enormous chunk": HEAD + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    "no version": b"POST /v1/chat/completions\r\n\r\n",
    "version 9": b"POST /v1/chat/completions HTTP/9.9\r\nhost: x\r\n\r\n",
    "a blank in the path": b"POST /v1/chat completions HTTP/1.1\r\nhost: x\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an unknown method": b"FROB /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "huge headers": HEAD + b"x-big: " + b"a" * 100_000 + b"\r\n" + LENGTH + BODY,
    "many headers": HEAD + b"".join(b"x-%d: aaaaaaaaaaaaaaaaaaaaaaaa\r\n" % n for n in range(4000)) + LENGTH + BODY,
    "a huge URL": b"POST /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "expects and is huge": HEAD + b"expect: 100-continue\r\nx-big: " + b"a" * 100_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_smuggling(gateway: Gateway, place: Place, data: bytes) -> None:
    """Refused, the connection closed: nothing behind it is taken for a request of its own."""
    asked = place.asked
    with gateway.client() as client:
        client.send(data + request(chat("support-triage", "smuggled")))
        answer = client.read()
        assert 400 <= answer.status < 500, answer
        assert answer.error["message"]
        assert answer.headers["connection"] == "close"
        assert client.closed()
    assert place.asked == asked
    assert "smuggled" not in gateway.raw_log()


@pytest.mark.parametrize("value", ["a\\r\\nx-injected: 1", "ü🎓", "a" * 5000, "\\u0000", "\\ud83c\\udf93", "' OR 1=1"])
def test_header_injection_by_values(gateway: Gateway, place: Place, value: str) -> None:
    body = b'{"model":"support-triage","user":"%b","messages":[{"role":"user","content":"x"}]}' % value.encode()
    with gateway.client() as client:
        answer = client.ask(body)
        assert answer.status == 200
        assert "x-injected" not in answer.headers
        client.post(body.replace(b"support-triage", value.encode()))
        refused(client, 404)
    assert place.seen[-1].header("x-injected") is None
    assert place.seen[-1].body == body.replace(b"support-triage", b"gpt-4o")


def test_header_values_from_clients(gateway: Gateway, place: Place) -> None:
    """A unit's header decides, is not passed on, and the client's key does not reach an upstream."""
    odd = (
        "X-Tenant: t\u00fc\u00ff;{}%0d%0a",
        "Authorization: Bearer client-secret",
        "Cookie: a=b",
        "x-request-id: mine",
    )
    with gateway.client() as client:
        client.send(request(chat("by-header"), headers=odd).decode().encode("latin-1"))
        answer = client.read()
    assert answer.status == 200
    sent = dict(place.seen[-1].headers)
    assert set(sent) == {"host", "content-type", "accept-encoding", "content-length", "x-request-id"}
    assert sent["x-request-id"] == answer.headers["x-graduand-id"]
    assert "client-secret" not in gateway.raw_log()


def test_pipelining_is_answered_in_order(gateway: Gateway, place: Place) -> None:
    place.forget()
    with gateway.client() as client:
        client.send(b"".join(request({**chat("support-triage", str(n)), "stream": n % 2 == 1}) for n in range(8)))
        answers = [client.read() for _ in range(8)]
        assert client.ask(chat("support-triage")).status == 200
    assert all(answer.whole and answer.text == text_of("gpt-4o") for answer in answers)
    kinds = ["event-stream" in answer.headers["content-type"] for answer in answers]
    assert kinds == [n % 2 == 1 for n in range(8)]
    ids = [answer.headers["x-graduand-id"] for answer in answers]
    until(lambda: len(place.seen) == 9, "all were asked")
    assert [seen.header("x-request-id") for seen in place.seen[:8]] == ids
    assert [seen.data["messages"][0]["content"] for seen in place.seen[:8]] == [str(n) for n in range(8)]


def test_pipelining_without_end(gateway: Gateway) -> None:
    with gateway.client() as client:
        client.send(request(chat("support-triage")) * 200)
        assert client.read().status == 200
        assert client.closed() or client.read().status == 200


def test_http_1_0(gateway: Gateway) -> None:
    head = b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n"
    with gateway.client() as client:
        client.send(head % len(GOOD) + GOOD)
        answer = client.read()
        assert answer.text == text_of("gpt-4o")
        assert client.closed()
    streamed = json.dumps(chat("support-triage", stream=True)).encode()
    with gateway.client() as client:
        client.send(head % len(streamed) + streamed)
        answer = client.read()
        assert "transfer-encoding" not in answer.headers  # HTTP/1.0 knows no chunks
        assert answer.events[-1] == "[DONE]"
        assert answer.text == text_of("gpt-4o")


def test_expect_100_continue(gateway: Gateway) -> None:
    with gateway.client() as client:
        client.send(HEAD + LENGTH + b"Expect: 100-continue\r\n\r\n")
        assert client.read_piece() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(GOOD)
        assert client.read().text == text_of("gpt-4o")
    with gateway.client() as client:
        client.send(HEAD + b"content-length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        refused(client, 413)


def test_an_offered_upgrade_is_declined(gateway: Gateway) -> None:
    """Java's and curl's clients offer h2c with a POST."""
    offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAoAAAAAIAAAAA")
    with gateway.client() as client:
        assert client.ask(GOOD, headers=offer).text == text_of("gpt-4o")
    with gateway.client() as client:
        client.send(b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert client.read().status in (400, 404, 405)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405), ("PUT", "/v1/chat/completions", 405), ("DELETE", "/v1/models", 405),
        ("POST", "/v1/models", 405), ("GET", "/v1/chat", 404), ("POST", "/v1/chat/completion", 404), ("PUT", "/", 405),
        ("OPTIONS", "*", 404), ("POST", "/v1/../v1/chat/completions", 404), ("GET", "/v1/models/", 404),
        ("POST", "//v1/chat/completions", 404), ("GET", "/metrics", 404), ("PATCH", "/v1/routes/support-triage", 404),
    ],
)  # fmt: skip
def test_methods_and_paths(gateway: Gateway, method: str, path: str, status: int) -> None:
    with gateway.client() as client:
        client.send(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
        answer = client.read()
        assert answer.status == status
        assert answer.error["type"] == "invalid_request_error"
        assert ("allow" in answer.headers) is (status == 405)
        assert client.get("/healthz").data == {"status": "ok"}


def test_the_root_answers_health_checks(gateway: Gateway) -> None:
    with gateway.client() as client:
        assert client.get("/").data == {"status": "ok"}


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/readyz", 200), ("/nothing", 404)])
def test_head_has_no_body(gateway: Gateway, path: str, status: int) -> None:
    """A body after HEAD would be taken for the beginning of the next answer."""
    with gateway.client() as client:
        client.send(f"HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        data = b""
        while data.count(b"HTTP/1.1 ") < 2 or b'{"status"' not in data:
            data += client.read_piece()
        first, _, second = data.partition(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 %d " % status)
        assert second.startswith(b"HTTP/1.1 200 ")


def test_a_query_does_not_matter(gateway: Gateway) -> None:
    with gateway.client() as client:
        assert client.ask(GOOD, path="/v1/chat/completions?api-version=2024").status == 200


def test_fragments_byte_by_byte(gateway: Gateway) -> None:
    with gateway.client() as client:
        for byte in request(GOOD):
            client.send(bytes([byte]))
        assert client.read().text == text_of("gpt-4o")


@how(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes(gateway: Gateway, data: Any) -> None:
    """Any bytes, and good requests with any bytes in them: an answer or a closed connection, in time."""
    good = request(chat("support-triage"))
    at = data.draw(st.integers(0, len(good)))
    noise = data.draw(st.binary(max_size=30) | st.sampled_from([b"\r\n", b"\n", b"\0", b" ", b"\r\n\r\n", b"chunked"]))
    with gateway.client() as client:
        client.send(good[:at] + noise + good[at + data.draw(st.integers(0, 9)) :])
        client.socket.shutdown(socket.SHUT_WR)
        received = b""
        while piece := _quiet(client):
            received += piece
    for part in received.split(b"HTTP/1.1 ")[1:]:
        assert part[:3] in (b"100", b"200", b"400", b"404", b"405", b"413", b"414", b"422", b"431"), received
    with gateway.client() as client:
        assert client.get("/healthz").status == 200


def _quiet(client: Client) -> bytes:
    try:
        return client.read_piece()
    except ConnectionError:
        return b""


def test_a_long_idle_client_costs_nothing_else(gateway: Gateway) -> None:
    """Slow senders do not hold others up."""
    slow = [gateway.client() for _ in range(100)]
    for client in slow:
        client.send(HEAD + b"content-length: 1000\r\n\r\n{")
    with gateway.client() as client:
        assert client.ask(chat("support-triage")).status == 200
    assert not any(client.dropped for client in slow)  # it is answered while all of them are waited for
    for client in slow:
        client.close()
