"""What a served flag tells, in its metadata, of the overlay that it holds and of what people wrote beneath it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from guardian.flagdoc.reading import weights
from guardian.flagdoc.rings import NO_RINGS
from guardian.flagdoc.shapes import Document, Flag, Json, Overlay

COMMAND = "guardian_command"
"""Metadata of a served flag: the last command in it, so that who reads it back knows it as its own."""
WRITTEN = "guardian_written"
"""Metadata of a served flag: the shares that people wrote, as JSON, beneath what the guardian decided."""
_STAMP = re.compile(r"\+g(\d+)$")


def stamped(flag: Flag, overlay: Overlay, written: Mapping[str, float]) -> Flag:
    """
    The served flag with what it tells of the overlay in it, and of the shares that people had *written* beneath.

    Its ``metadata.version`` ends in ``+g`` and the version of the overlay.
    """
    metadata = dict(flag.get("metadata") or {})
    metadata["version"] = f"{_STAMP.sub('', str(metadata.get('version', 0)))}+g{overlay['version']}"
    if overlay.get("command_id"):
        metadata[COMMAND] = overlay["command_id"]
    metadata[WRITTEN] = json.dumps(written)
    return {**flag, "metadata": metadata}


def overlay_version(flag: Flag) -> int:
    """The version of the overlay that a served flag holds; 0 where there is none."""
    stamp = _STAMP.search(str((flag.get("metadata") or {}).get("version", "")))
    return int(stamp[1]) if stamp else 0


def written_weights(flag: Flag, conditions: Mapping[str, Json] = NO_RINGS) -> dict[str, float]:
    """
    The share of each variation as people wrote it, of a served flag; empty where the answer is computed.

    As in ``weights``, splits on *conditions* are not everybody's.
    """
    told = (flag.get("metadata") or {}).get(WRITTEN) if overlay_version(flag) else None
    if not isinstance(told, str):
        return weights(flag, conditions)
    read: dict[str, float] = json.loads(told)
    return read


def unstamped(document: Document) -> Document:
    """
    A valid base document without the guardian's stamps.

    Someone who saves what is served as the new base would else make the guardian believe in decisions that no
    record holds.
    """

    def clean(flag: Flag) -> Flag:
        metadata = {key: value for key, value in flag["metadata"].items() if key not in (COMMAND, WRITTEN)}
        if "version" in metadata:
            metadata["version"] = _STAMP.sub("", str(metadata["version"]))
        return {**flag, "metadata": metadata}

    flags = document["flags"].items()
    return {**document, "flags": {key: clean(flag) if overlay_version(flag) else flag for key, flag in flags}}
