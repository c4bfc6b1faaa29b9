"""``guardian keys``: new keys, and the ids of those that there are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from streams.apps.client import DONE, Wrong
from streams.keys import key_id, new_private, private_pem, public_pem, read_private, read_public

_PRIVATE = 0o600
_PUBLIC = ".pub"


def new(file: Path, out: TextIO) -> int:
    """
    Write a new private key to *file*, for its owner alone, and the public one beside it; return the exit code.

    Raises:
        Wrong: one of the files is there already, or cannot be written; nothing was changed.
    """
    beside = file.with_name(file.name + _PUBLIC)
    if beside.exists():
        raise Wrong(f"{beside} is there already; a key is never replaced in place, choose another name")
    key = new_private()
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb") as private:
            private.write(private_pem(key))
        beside.write_bytes(public_pem(key.public_key()))
    except FileExistsError:
        raise Wrong(f"{file} is there already; a key is never replaced in place, choose another name") from None
    except OSError as error:
        raise Wrong(f"{error.filename or file} cannot be written: {error.strerror}") from None
    out.write(f"key {key_id(key.public_key())}: sign with {file} (signing.key_file), trust {beside} (signing.trusted)\n")
    return DONE


def show(file: Path, out: TextIO) -> int:
    """
    Print the id of the key in *file*, private or public; return the exit code.

    Raises:
        Wrong: it holds none.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Wrong(f"{file} cannot be read: {error.strerror}") from None
    try:
        is_private = b"PRIVATE" in content
        key = read_private(content.decode()).public_key() if is_private else read_public(content)
    except ValueError as error:
        raise Wrong(f"{file} {error}") from None
    out.write(f"{key_id(key)}\n")
    return DONE
