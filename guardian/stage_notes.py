"""What is worth knowing of a policy's stages although nothing is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator

from guardian.conditions import Absolute
from guardian.policy import Policy


def stage_notes(policy: Policy) -> Iterator[str]:
    """Yield a sentence for each stage that cannot do all of what people expect of it."""
    for at, stage in enumerate(policy.stages):
        compares = [condition.text for condition in stage.until or () if not isinstance(condition.bound, Absolute)]
        if stage.share >= 1.0 and compares:
            said = "at 100 % nobody is left to compare with, so this is never shown and the stage never left"
            yield f"stages[{at}].until: {compares[0]}: {said}"
    if policy.stages and policy.stages[-1].share >= 1.0 and policy.hold_back is None:
        yield (
            "stages: at 100 % no control is left, so harm that comes late cannot be compared with anything; "
            "hold_back: 5% keeps some"
        )
