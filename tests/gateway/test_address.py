"""Addresses: read, bound and shared, with errors that name the key and the address."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway import address
from graduand.gateway.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:0", "::1", 0), ("localhost:65535", "localhost", 65535)],
)
def test_reads_host_and_port(text: str, host: str, port: int) -> None:
    assert address.parse(text, "listen") == (host, port)


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "h:", "h:x", "h:-1", "h:65536", "h:8²", "[::1:80", "http://h:80", "u@h:80", "[]:80"]
)
def test_names_the_key_of_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^admin: .* is not HOST:PORT"):
        address.parse(text, "admin")


@given(st.text(max_size=12))
def test_what_is_read_is_written_as_it_was_meant(text: str) -> None:
    try:
        host, port = address.parse(text, "listen")
    except ConfigError:
        return
    assert address.parse(address.text(host, port), "listen") == (host, port)


def test_a_bound_socket_refuses_until_it_listens() -> None:
    with address.bind("127.0.0.1", 0, "--listen") as bound:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(bound.getsockname(), 5)
        bound.listen()
        socket.create_connection(bound.getsockname(), 5).close()


def test_an_address_in_use_is_refused_with_key_and_address_whoever_asks() -> None:
    with address.listen("127.0.0.1", 0, "--listen") as taken:
        port = taken.getsockname()[1]
        for take in (address.bind, address.listen, lambda *where: address.listen_together(*where, 2)):
            with pytest.raises(
                address.ListenError, match=f"^admin: cannot listen on 127.0.0.1:{port}: Address already"
            ):
                take("127.0.0.1", port, "admin")


def test_sockets_that_share_an_address_all_accept_and_keep_others_out() -> None:
    together = address.listen_together("127.0.0.1", 0, "listen", 3)
    shown = {address.show(one) for one in together}
    assert len(together) == 3
    assert len(shown) == 1
    with pytest.raises(address.ListenError):
        address.listen_together(*address.parse(shown.pop(), "listen"), "listen", 1)
    for one in together:
        one.close()


@pytest.mark.parametrize("host", ["x" * 70 + ".example", "no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(address.ListenError, match=host):
        address.listen(host, 0, "listen")
