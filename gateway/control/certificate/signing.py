"""Signatures of certificates: Ed25519 (RFC 8032) over the canonical bytes of everything else in the file."""

from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from graduand.gateway.errors import ConfigError
from graduand.gateway.model import canonical

ALGORITHM = "ed25519"
Json = dict[str, Any]


def signed(certificate: Json, key: Path) -> Json:
    """The certificate with the signature of a private key (PEM, PKCS #8); raise ConfigError if the file holds none."""
    try:
        private = serialization.load_pem_private_key(_read(key), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{key} holds no private key that can be used: {error}; {REMEDY}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{key} holds a key of another kind than Ed25519; {REMEDY}")
    public = private.public_key().public_bytes_raw().hex()
    bare = {name: value for name, value in certificate.items() if name != "signature"}
    value = private.sign(canonical.dumps(bare)).hex()
    return {**bare, "signature": {"algorithm": ALGORITHM, "public_key": public, "value": value}}


def public_key(path: Path) -> str:
    """The public key in a file (PEM), as hexadecimal digits; raise ConfigError if it holds none."""
    try:
        public = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds no public key (PEM): {error}") from error
    if not isinstance(public, Ed25519PublicKey):
        raise ConfigError(f"{path} holds a key of another kind than Ed25519")
    return public.public_bytes_raw().hex()


def fits(certificate: Json) -> bool:
    """Whether a certificate's signature is that of the key that it names."""
    signature = certificate["signature"]
    bare = {name: value for name, value in certificate.items() if name != "signature"}
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature["public_key"]))
        key.verify(bytes.fromhex(signature["value"]), canonical.dumps(bare))
    except (InvalidSignature, ValueError):
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the key {path}: {error.strerror}") from error


REMEDY = "make one with `openssl genpkey -algorithm ed25519 -out key.pem`"
