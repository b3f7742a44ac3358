"""nginx with its defaults in front of the gateway, with and without TLS: events pass as they come."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from graduand.gateway.model.routes import Route, Teacher, Unit
from tests.gateway.authority import Authority
from tests.gateway.dataplane.inprocess import serving
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.running import until
from tests.gateway.speaking import chat, request
from tests.gateway.upstream import Conversation, Upstream, chunk

# All that is set is where it listens and keeps its files; `deaf` is what it does with answers that say nothing of buffers.
CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr warn; {user}
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
    ssl_certificate {certificate}; ssl_certificate_key {certificate};
    location / {{ proxy_pass http://127.0.0.1:{gateway}; }}
    location /deaf/ {{ proxy_pass http://127.0.0.1:{gateway}/; proxy_ignore_headers X-Accel-Buffering; }}
    location /new/ {{ proxy_pass http://127.0.0.1:{gateway}/; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
PATH = "/v1/chat/completions"
SILENCE_S = 0.3


def program() -> str:
    """Where nginx is; skips the test where it is not."""
    places = f"{sys.prefix}/nginx/usr/sbin:{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    found = shutil.which("nginx", path=places)
    if found is None:
        pytest.skip("nginx is not here: `make nginx` fetches it")
    return found


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@dataclass
class Front:
    """nginx's two ports, and what tells the upstream to send its second token."""

    plain: int
    tls: int
    trust: ssl.SSLContext
    go_on: threading.Event

    def connect(self, *, tls: bool) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.tls if tls else self.plain), timeout=30)
        return self.trust.wrap_socket(made, server_hostname="localhost") if tls else made


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Front]:
    binary, folder, go_on = program(), tmp_path_factory.mktemp("nginx"), threading.Event()

    def says(conversation: Conversation) -> None:
        conversation.start_stream()
        conversation.events([chunk("gpt-4o", role="assistant", content=""), chunk("gpt-4o", content="first ")])
        go_on.wait(60)
        conversation.events([chunk("gpt-4o", content="second"), chunk("gpt-4o", finish="stop"), "[DONE]"])
        conversation.end_stream()

    authority = Authority(folder)
    authority.server("localhost")
    routes = [Route("m", Teacher("t", "gpt-4o"), None, "teacher", 0, Unit("user"))]
    place = one_upstream("t", "openai", upstream.place("t", says).url)
    plain, tls = free_ports(2)
    with serving(tmp_path_factory.mktemp("plane"), [place], routes) as port:
        text = CONFIGURATION.format(
            folder=folder, plain=plain, tls=tls, gateway=port, certificate=folder / "localhost-False.pem",
            user="user root;" if os.geteuid() == 0 else "",
        )  # fmt: skip
        (folder / "nginx.conf").write_text(text)
        command = [binary, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                until(lambda: process.poll() is not None or _listens(tls), "nginx listens")
                assert process.poll() is None, process.stderr and process.stderr.read()
                yield Front(plain, tls, ssl.create_default_context(cafile=str(authority.file)), go_on)
            finally:
                go_on.set()
                process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _read(connection: socket.socket, mark: bytes) -> bytes:
    said = b""
    while mark not in said:
        piece = connection.recv(1 << 16)
        assert piece, said
        said += piece
    return said


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("path", [PATH, "/new" + PATH])
def test_the_first_token_arrives_while_the_second_is_held(front: Front, tls: bool, path: str) -> None:
    front.go_on.clear()
    with front.connect(tls=tls) as connection:
        connection.sendall(request(chat("m", stream=True), path))
        said = _read(connection, b"first ")
        assert said.startswith(b"HTTP/1.1 200 ")
        assert b"second" not in said
        front.go_on.set()
        assert b"second" in _read(connection, b"data: [DONE]")


def test_the_same_nginx_would_hold_it_back_without_the_header(front: Front) -> None:
    """What makes the test above one that can fail."""
    front.go_on.clear()
    with front.connect(tls=False) as connection:
        connection.sendall(request(chat("m", stream=True), "/deaf" + PATH))
        connection.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            _read(connection, b"first ")
        front.go_on.set()
        connection.settimeout(30)
        _read(connection, b"data: [DONE]")


def test_whole_answers_and_refusals_pass(front: Front) -> None:
    with front.connect(tls=True) as connection:
        connection.sendall(request(chat("nobody")))
        assert _read(connection, b"nobody").startswith(b"HTTP/1.1 404 ")
