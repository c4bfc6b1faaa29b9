"""
Keys: who has written a decision or a receipt, told by an Ed25519 signature.

A key's id is made of its public half, so that nobody has to keep a list of names. One private key signs; signatures of
any trusted key count, so a key is replaced without a moment in which nothing is signed: trust the new one, then sign
with it, then trust the old one no more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from guardian.errors import EventError

_ID_DIGITS = 16


class SignatureError(EventError):
    """It is not signed (``is_missing``), or by nobody whom we trust, or it was changed since; the text says which."""

    def __init__(self, why: str, *, is_missing: bool = False) -> None:
        self.is_missing = is_missing
        super().__init__(why)


class Keys:
    """
    What is signed with, if anything, and whose signatures count; without any trusted key nothing is asked for.

    Whoever signs trusts itself.
    """

    def __init__(self, private: Ed25519PrivateKey | None = None, trusted: Iterable[Ed25519PublicKey] = ()) -> None:
        self._private = private
        own = [] if private is None else [private.public_key()]
        self.trusted: Mapping[str, Ed25519PublicKey] = {key_id(key): key for key in (*own, *trusted)}
        """The public keys by their ids."""
        self.own_id = key_id(own[0]) if own else ""
        """The id of the key that signs; empty where nothing is signed."""

    def sign(self, content: bytes) -> str:
        """Return the signature in base64, empty where there is no key to sign with."""
        return "" if self._private is None else base64.b64encode(self._private.sign(content)).decode()

    def check(self, content: bytes, named: str, signature: str) -> None:
        """
        Check the *signature* of the key that is *named*.

        Raises:
            SignatureError: some key is trusted, and this is not the signature of one of them.
        """
        if not self.trusted:
            return
        if not named or not signature:
            raise SignatureError("signature: is missing; only what the guardian has signed counts", is_missing=True)
        if (key := self.trusted.get(named)) is None:
            raise SignatureError(f"keyid: {named!r}: is not one of the trusted keys, {', '.join(sorted(self.trusted))}")
        try:
            key.verify(base64.b64decode(signature, validate=True), content)
        except (InvalidSignature, binascii.Error):
            raise SignatureError(f"signature: is not that of key {named}, or the event was changed after it was signed") from None


UNSIGNED = Keys()
"""Nothing is signed, and no signature is asked for."""


def key_id(key: Ed25519PublicKey) -> str:
    """Return the id of a key: 16 hexadecimal digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:_ID_DIGITS]


def new_private() -> Ed25519PrivateKey:
    """Return a new key, of the system's own chance."""
    return Ed25519PrivateKey.generate()


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """Return a private key as PEM (PKCS 8), not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PublicKey) -> bytes:
    """Return a public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_private(pem: str) -> Ed25519PrivateKey:
    """
    Return the private key that a PEM text holds.

    Raises:
        ValueError: it holds none, or one of another kind; nothing of the text is shown.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        right = "is no Ed25519 private key in PEM without a password; `guardian keys new` makes one"
        raise ValueError(right)  # noqa: TRY004 - of the text, whatever it holds
    return key


def read_public(pem: bytes) -> Ed25519PublicKey:
    """
    Return the public key that a PEM text holds.

    Raises:
        ValueError: it holds none, or one of another kind.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("is no Ed25519 public key in PEM; it stands in the file ending in .pub")  # noqa: TRY004 - likewise
    return key
