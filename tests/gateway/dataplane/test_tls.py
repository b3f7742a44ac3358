"""TLS to upstreams: verified, or not spoken at all."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from graduand.gateway.adapters import residency
from graduand.gateway.config import read
from graduand.gateway.errors import ConfigError
from tests.gateway.authority import Authority
from tests.gateway.conftest import Start
from tests.gateway.running import Gateway, route
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import chat
from tests.gateway.upstream import Upstream, text_of

TEACHER = "gpt-4o"


@dataclass
class Servers:
    """Upstreams that differ in their certificates; `names` are the hosts that clients of `good` asked for."""

    authority: Authority
    stranger: Authority
    by_name: dict[str, Upstream] = field(default_factory=dict)
    names: list[str | None] = field(default_factory=list)

    def add(self, name: str, context: ssl.SSLContext) -> None:
        self.by_name[name] = Upstream(context)
        self.by_name[name].place("v1")

    def url(self, name: str, host: str = "localhost") -> str:
        return f"https://{host}:{self.by_name[name].port}/v1"


def incompatible(context: ssl.SSLContext) -> ssl.SSLContext:
    """It knows one cipher, which does not go with its key: no handshake can succeed."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")
    return context


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("certificates")
    made = Servers(Authority(folder), Authority(folder, "a stranger"))
    good = made.authority.server("localhost", "127.0.0.1")
    good.sni_callback = lambda _socket, name, _context: made.names.append(name)
    made.add("good", good)
    made.add("elsewhere", made.authority.server("elsewhere.example"))
    made.add("expired", made.authority.server("localhost", expired=True))
    made.add("strange", incompatible(made.authority.server("127.0.0.1", "localhost")))
    yield made
    for server in made.by_name.values():
        server.close()


@pytest.fixture(scope="module")
def gateway(start: Start, servers: Servers) -> Gateway:
    known, stranger = str(servers.authority.file), str(servers.stranger.file)
    upstreams = {
        "good": configured(servers.url("good"), ca_file=known),
        "address": configured(servers.url("good", "127.0.0.1"), ca_file=known),
        "unknown": configured(servers.url("good")),
        "stranger": configured(servers.url("good"), ca_file=stranger),
        "elsewhere": configured(servers.url("elsewhere"), ca_file=known),
        "expired": configured(servers.url("expired"), ca_file=known),
        "strange": configured(servers.url("strange"), ca_file=known),
    }
    routes = {name: route(name) for name in upstreams}
    routes["fallen"] = route("good", "unknown", mode="student")
    return start(upstreams, routes)


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_of_a_known_authority(gateway: Gateway, servers: Servers, stream: bool) -> None:
    servers.names.clear()
    before = servers.by_name["good"].connected
    with gateway.client() as client:
        for _ in range(3):
            got = client.ask(chat("good", stream=stream))
            assert (got.status, got.text, got.whole) == (200, text_of(TEACHER), True)
        assert client.ask(chat("address")).status == 200
    assert servers.by_name["good"].connected - before <= 2  # kept and used again
    assert set(servers.names) <= {"localhost", None}


def test_the_server_is_told_which_host_is_meant(gateway: Gateway, servers: Servers, start: Start) -> None:
    servers.names.clear()
    upstreams = {"good": configured(servers.url("good"), ca_file=str(servers.authority.file))}
    with start(upstreams, {"good": route("good")}).client() as client:
        assert client.ask(chat("good")).status == 200
    assert servers.names == ["localhost"]


REFUSED = [
    # the upstream, its server, what the error says
    ("unknown", "good", "certificate cannot be verified"), ("stranger", "good", "certificate cannot be verified"),
    ("elsewhere", "elsewhere", "mismatch"), ("expired", "expired", "expired"), ("strange", "strange", "TLS handshake"),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "server", "says"), REFUSED)
def test_an_upstream_that_cannot_be_trusted(
    gateway: Gateway, servers: Servers, name: str, server: str, says: str, stream: bool
) -> None:
    """Refused in words, at once and once: trying again would not make a certificate better."""
    asked_of = servers.by_name[server]
    connected, asked = asked_of.connected, asked_of.places["v1"].asked
    with gateway.client() as client:
        got = client.ask(chat(name, stream=stream))
    assert (got.status, got.error["code"]) == (502, "tls")
    assert says in got.error["message"]
    assert asked_of.connected - connected == 1
    assert asked_of.places["v1"].asked == asked  # not a byte of the request
    record = gateway.record(got.headers["x-graduand-id"])
    assert [one["outcome"] for one in record["attempts"]] == ["tls"]


def test_the_teacher_answers_for_a_student_that_cannot_be_trusted(gateway: Gateway) -> None:
    with gateway.client() as client:
        got = client.ask(chat("fallen"))
    assert (got.status, got.text, got.headers["x-graduand-reason"]) == (200, text_of(TEACHER), "fallback:tls")
    record = gateway.record(got.headers["x-graduand-id"])
    assert [one["outcome"] for one in record["attempts"]] == ["tls", "ok"]


def test_the_admin_plane_verifies_as_well(servers: Servers, tmp_path: Path) -> None:
    file = tmp_path / "g.yaml"

    def called(name: str, authority: Authority | None) -> None:
        more = f", ca_file: {authority.file}" if authority else ""
        upstreams = f"upstreams: {{u: {{kind: vllm, base_urls: ['{servers.url(name)}']{more}}}}}\n"
        file.write_text(upstreams + "routes: {r: {teacher: {upstream: u, model: m}}}\n")
        upstream = read.load(file).upstreams["u"]
        residency.listed(upstream, upstream.replicas[0])

    for name, authority in [("good", None), ("good", servers.stranger), ("elsewhere", servers.authority)]:
        with pytest.raises(residency.UpstreamUnreachable, match="certificate"):
            called(name, authority)


def test_a_file_that_holds_no_authority(tmp_path: Path) -> None:
    """Found when the configuration is read: a worker that cannot make its connections would never start."""
    (tmp_path / "ca.pem").write_text("not a certificate")
    (tmp_path / "g.yaml").write_text(
        f"upstreams: {{u: {{kind: vllm, base_urls: ['https://h/v1'], ca_file: {tmp_path}/ca.pem}}}}\n"
        "routes: {r: {teacher: {upstream: u, model: m}}}\n"
    )
    with pytest.raises(ConfigError, match="holds no certificates"):
        read.load(tmp_path / "g.yaml")
