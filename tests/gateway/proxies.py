"""HTTP proxies as tests need them: they carry, or refuse in whatever words."""

import contextlib
import socket
import threading

CONNECTED = b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n"


class ProxyServer:
    """Answers CONNECT with `answer`, and then carries bytes if that is a success; `asked` are the heads that it read."""

    def __init__(self, answer: bytes = CONNECTED) -> None:
        self._answer = answer
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which also wakes who waits in `accept`
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = client.recv(1)
            if not piece:
                return
            head += piece
        self.asked.append(head.decode())
        host, _, port = head.split()[1].decode().rpartition(":")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for byte in self._answer:  # in pieces, as a network may
                client.sendall(bytes([byte]))
        if b" 200 " not in self._answer:
            client.close()
            return
        with socket.create_connection((host, int(port))) as server:
            back = threading.Thread(target=_carry, args=(server, client), daemon=True)
            back.start()
            _carry(client, server)
            back.join()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
