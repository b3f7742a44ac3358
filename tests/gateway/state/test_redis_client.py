"""Addresses of a Redis, TLS, and the primary that Sentinels name after a failover."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from graduand.gateway.model.routes import Route, Student, Teacher
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.redis_client import Address, address, connect
from graduand.gateway.state.redis_store import RedisStore
from graduand.gateway.state.replica import ReplicaFolder
from tests.gateway.authority import Authority
from tests.gateway.redises import RedisServer, binary, free_port
from tests.gateway.running import until

ROUTE = Route("triage", Teacher("openai", "gpt-4o"), Student("gpu", "triage@3f9c1a"), mode="canary", weight_bp=5000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://h", Address((("h", 6379),))),
        ("redis://h/", Address((("h", 6379),))),
        ("redis://ann@h.example:6380/3", Address((("h.example", 6380),), 3, "ann")),
        ("rediss://[::1]:6380/0", Address((("::1", 6380),), tls=True)),
        ("redis+sentinel://a,b:1/main/2", Address((("a", 26379), ("b", 1)), 2, name="main")),
        ("redis+sentinel://a/main", Address((("a", 26379),), name="main")),
        ("redis+sentinel://a/2", None),
        ("redis+sentinel://a", None),
        ("redis://h/main/0", None),
        ("redis://a,b/0", None),
        ("redis://h:0", None),
        ("redis://h:65536", None),
        ("redis://:secret@h", None),
        ("redis://h/0?x=y", None),
        ("redis://h/0#x", None),
        ("redis://", None),
        ("http://h", None),
        ("redis://h\n", None),
    ],
)
def test_addresses(text: str, expected: Address | None) -> None:
    assert address(text) == expected


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not _speaks_tls():
        pytest.skip(f"{binary()} was built without TLS")
    authority = Authority(tmp_path)
    authority.server("127.0.0.1")
    pem = str(tmp_path / "127.0.0.1-False.pem")
    tls_port = free_port()
    server = RedisServer(
        tmp_path, "--tls-port", str(tls_port), "--tls-cert-file", pem, "--tls-key-file", pem,
        "--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "no",
    )  # fmt: skip
    try:
        untrusted = RedisStore(connect(f"rediss://127.0.0.1:{tls_port}/0", None), ReplicaFolder(tmp_path / "logs"))
        with pytest.raises(StateError, match="certificate verify failed"):
            untrusted.found()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        trusted = RedisStore(connect(f"rediss://127.0.0.1:{tls_port}/0", None), ReplicaFolder(tmp_path / "logs"))
        trusted.found()
        assert trusted.version() == 1
    finally:
        server.kill()


def _speaks_tls() -> bool:
    linked = subprocess.run([shutil.which("ldd") or "true", binary()], capture_output=True, text=True, timeout=20)
    return "libssl" in linked.stdout


@pytest.mark.slow
def test_a_failover_by_sentinels(tmp_path: Path) -> None:
    """The primary is killed; the Sentinels' next one is found, with what was stored, and written to."""
    folders = [tmp_path / name for name in ("one", "two", "sentinel")]
    for folder in folders:
        folder.mkdir()
    one = RedisServer(folders[0])
    two = RedisServer(folders[1], "--replicaof", "127.0.0.1", str(one.port))
    (folders[2] / "sentinel.conf").write_text(
        f"sentinel monitor main 127.0.0.1 {one.port} 1\nsentinel down-after-milliseconds main 3000\n"
        "sentinel failover-timeout main 6000\n"
    )
    sentinel = RedisServer(folders[2], sentinel=True)
    try:
        until(lambda: two.client().info("replication")["master_link_status"] == "up", "the second one follows")
        watching = f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0"
        store = RedisStore(connect(watching, None), ReplicaFolder(tmp_path / "logs"))
        store.settle_s = 0.0
        store.found()
        until(lambda: sentinel.client().sentinel_master("main")["num-slaves"] == 1, "the Sentinel knows the second")
        store.change_route(ROUTE, who="ann", weight_bp=300)
        one.kill()  # at once: the change has been copied before it was acknowledged
        began = time.monotonic()
        until(lambda: _works(store), "another one is the primary")
        print(f"\nthe store could be used {time.monotonic() - began:.1f} s after its primary was killed")
        assert store.table({"triage": ROUTE}).routes["triage"].weight_bp == 300
        store.change_route(ROUTE, who="ann", weight_bp=400)
        assert two.client().hget("graduand:meta", "version") == b"4"
    finally:
        for server in (one, two, sentinel):
            server.kill()


def _works(store: RedisStore) -> bool:
    try:
        store.version()
        with store.transaction():
            store.changed("test", "ann", {})
        return True
    except StateError:
        time.sleep(0.1)
        return False
