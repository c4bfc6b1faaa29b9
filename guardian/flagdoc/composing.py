"""What is served: what people wrote, with what the guardian decided laid over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from guardian.flagdoc.killing import switched_off, without
from guardian.flagdoc.rings import conditions_of, unringed
from guardian.flagdoc.rules import inlined
from guardian.flagdoc.shapes import Document, Flag, Json, Overlay, control_of, is_edited
from guardian.flagdoc.sharing import with_shares
from guardian.flagdoc.stamps import stamped, written_weights


def compose(base: Document, overlays: Iterable[Overlay]) -> Document:
    """The document to serve. Flags without an overlay, and overlays without a flag, change nothing."""
    flags, evaluators = dict(base["flags"]), base.get("$evaluators")
    for overlay in overlays:
        key = overlay["flag_key"]
        if key in flags:
            flags[key] = overlaid(flags[key], overlay, evaluators)
    return {**base, "flags": flags}


def overlaid(flag: Flag, overlay: Overlay, evaluators: Mapping[str, Json] | None = None) -> Flag:
    """
    One flag with what was decided about it; its ``metadata.version`` ends in ``+g`` and that version.

    Shares, those of rings too, are laid over the one that people had written when they were decided, and over no other:
    who has changed it since gets what they wrote.
    """
    killed, out = overlay.get("killed") or {}, inlined(flag, evaluators)
    evaluators = evaluators or {}
    written = written_weights(out, conditions_of(evaluators, evaluators))
    conditions = conditions_of(overlay.get("rings") or {}, evaluators)
    shares, *of_rings = (
        {
            name: share
            for name, share in given.items()
            if name in flag["variants"] and name not in killed and not is_edited(written, overlay, name)
        }
        for given in (overlay.get("shares") or {}, *((overlay.get("rings") or {})[ring] for ring in conditions))
    )
    if overlay.get("off"):
        out = switched_off(out, control_of(flag, overlay))
    elif shares or any(of_rings):
        rings = list(zip(conditions.values(), of_rings, strict=True))
        out = with_shares(unringed(out, list(conditions.values())), shares, control_of(flag, overlay), rings)
    for variation, control in killed.items():
        out = without(out, variation, control)
    return stamped(out, overlay, written)
