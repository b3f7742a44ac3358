"""`graduand rollout certificate` and `graduand rollout verify`: proof of a promotion in one file, and its verification.

Verifying needs no gateway. Exit codes of `verify`: 0 everything is confirmed, 3 something is refused, 4 something could not
be confirmed; 1 and 2 as everywhere.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from graduand.gateway.client.admin import Admin
from graduand.gateway.client.options import Subparsers, admin_of, leaf_of, out
from graduand.gateway.errors import ConfigError, GraduandError

REFUSED, UNCONFIRMED = 3, 4


class NotWritten(GraduandError, OSError):
    """The certificate could not be written."""


def add_actions(actions: "Subparsers[argparse.ArgumentParser]", path_of: Callable[[Admin, str, str], str]) -> None:
    """Register both with `rollout`; `path_of` says where the admin plane has something of a rollout."""
    issue = leaf_of(actions, "certificate", "write the certificate of a promotion", partial(_certificate, path_of))
    issue.add_argument("rollout", help="a rollout's id, or a route: its newest rollout")
    issue.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    issue.add_argument("--key", type=Path, metavar="FILE", help="sign it with the Ed25519 key in this file (PEM)")
    check = actions.add_parser(
        "verify",
        help="verify a certificate from the log's parts",
        description="verify a certificate from the log's parts",
    )
    check.add_argument("certificate", type=Path, metavar="FILE", help="the certificate")
    check.add_argument("--log", metavar="PARTS", help="the log's parts: a folder, file:///…, s3://… or gs://…")
    check.add_argument("--adapter", type=Path, metavar="DIR", help="also compare the adapter's files")
    check.add_argument("--key", type=Path, metavar="FILE", help="refuse unless this public key has signed it (PEM)")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_verify)


def _certificate(path_of: Callable[[Admin, str, str], str], arguments: argparse.Namespace) -> int:
    from graduand.gateway.control.certificate import signing
    from graduand.gateway.model import canonical

    admin = admin_of(arguments)
    data: dict[str, Any] = admin.call("POST", path_of(admin, arguments.rollout, "/certificate"), {})
    if arguments.key is not None:
        data = signing.signed(data, arguments.key)
    unfinished = arguments.out.with_name(arguments.out.name + ".partial")
    try:
        unfinished.write_bytes(canonical.dumps(data))
        unfinished.replace(arguments.out)
    except OSError as error:
        raise NotWritten(f"cannot write {arguments.out}: {error.strerror}") from error
    return out(arguments, data, lambda _: print(f"{_told(data)}; written to {arguments.out}"))


def _told(data: dict[str, Any]) -> str:
    how = "by evidence" if data["certified"] else "NOT by evidence alone: somebody went past the gates"
    return f"{data['rollout']['id']}: promoted {how}; {data['evidence']['lines']} lines of evidence"


def _verify(arguments: argparse.Namespace) -> int:
    from graduand.gateway.control.certificate import signing
    from graduand.gateway.control.certificate.verify import Status, verdict, verify

    try:
        data = arguments.certificate.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the certificate {arguments.certificate}: {error.strerror}") from error
    key = None if arguments.key is None else signing.public_key(arguments.key)
    if arguments.log is not None and "://" not in arguments.log and not Path(arguments.log).is_dir():
        raise ConfigError(f"{arguments.log} is no folder; --log names that of the log's parts")
    findings = verify(data, arguments.log, arguments.adapter, key)
    found = verdict(findings)
    lines = [{"line": one.line, "status": one.status.value, "why": one.why} for one in findings]
    out(arguments, {"verdict": "confirmed" if found is Status.OK else found.value, "lines": lines}, _show)
    return {Status.OK: 0, Status.REFUSED: REFUSED, Status.UNCONFIRMED: UNCONFIRMED}[found]


def _show(data: dict[str, Any]) -> None:
    for one in data["lines"]:
        print(f"{one['status']}: {one['line']}" + f" ({one['why']})" * bool(one["why"]))
    print(data["verdict"])
