"""The command as users start it: its one line, its errors, its end."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from graduand.gateway.cli import main

COMMAND = [sys.executable, "-m", "graduand", "engine"]


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["--model", "./nowhere"], 2, "no model './nowhere'"),
        (["--model", "smollm3-135m"], 2, "Did you mean 'smollm2-135m'"),
        (["--model", "smollm2-135m", "--adapter", "x=./nowhere"], 2, "there is no folder ./nowhere"),
        (["--model", "smollm2-135m", "--adapter", "x"], 2, "is not NAME=DIR"),
        (["--model", "smollm2-135m", "--listen", "here"], 2, "is not HOST:PORT"),
        (["--model", "smollm2-135m", "--max-num-seqs", "0"], 2, "--max-num-seqs must be at least 1"),
        (["--model", "smollm2-135m", "--listen", "192.0.2.1:80"], 1, "cannot listen on 192.0.2.1:80"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], code: int, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    listen = [] if "--listen" in arguments else ["--listen", "127.0.0.1:0"]
    assert main(["engine", *arguments, *listen]) == code
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_a_port_in_use_is_said_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["engine", "--model", "smollm2-135m", "--listen", address]) == 1
    assert f"cannot listen on {address}" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_starts_with_one_line_and_ends_by_a_signal(adapters: dict[str, Path], number: signal.Signals) -> None:
    arguments = ["--model", "smollm2-135m", "--adapter", f"blue={adapters['blue']}", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("engine on http://127.0.0.1:")
        assert "model smollm2-135m, adapters: blue" in line
        url = line.split()[2].removesuffix(":")
        assert httpx.get(f"{url}/health", timeout=30).status_code == 200
        body = {"prompt": "Once", "max_tokens": 8000, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as stream:
            next(stream.iter_raw())
            process.send_signal(number)
            output, errors = process.communicate(timeout=30)
        assert (process.returncode, output, errors) == (0, "", "")
    finally:
        process.kill()
        process.wait()
