"""
flagd documents as values: what people wrote (*base*), what the guardian decided (*overlays*), what is served.

``compose(base, overlays)`` is a pure function, so a person's edit and a kill never overwrite each other. A
kill is written so that every generation of official providers obeys it: ``guardian.flagdoc.killing`` says how.
"""

from __future__ import annotations

from guardian.flagdoc.checking import flag_problems, misfits, validate
from guardian.flagdoc.composing import compose, overlaid
from guardian.flagdoc.killing import without
from guardian.flagdoc.reading import is_for_all, ring_splits, splits, weights
from guardian.flagdoc.rings import conditions_of
from guardian.flagdoc.rules import inlined
from guardian.flagdoc.shapes import SAME_SHARE, Document, Flag, Json, Overlay, is_edited
from guardian.flagdoc.slices import FINEST_TOTAL
from guardian.flagdoc.stamps import COMMAND, WRITTEN, overlay_version, unstamped, written_weights

__all__ = [
    "COMMAND",
    "FINEST_TOTAL",
    "SAME_SHARE",
    "WRITTEN",
    "Document",
    "Flag",
    "Json",
    "Overlay",
    "compose",
    "conditions_of",
    "flag_problems",
    "inlined",
    "is_edited",
    "is_for_all",
    "misfits",
    "overlaid",
    "overlay_version",
    "ring_splits",
    "splits",
    "unstamped",
    "validate",
    "weights",
    "without",
    "written_weights",
]
