"""What is worth knowing of a policy's stages, or of its having none, although nothing is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator

from guardian.conditions import Absolute, Margin, Relative
from guardian.policy import Policy


def stage_notes(policy: Policy) -> Iterator[str]:
    """Yield a sentence for each stage, and each share that no stage says, that cannot do all of what people expect."""
    for at, stage in enumerate(policy.stages):
        compares = [condition.text for condition in stage.until or () if not isinstance(condition.bound, Absolute)]
        if stage.users is not None and (compared := compares or _compared(policy)):
            said = "compares a ring with everybody else, so what its users are like counts, too; a bound in its unit does not"
            yield f"stages[{at}].users: {stage.users}: {compared[0]} {said}"
        elif stage.share >= 1.0 and compares:
            said = "at 100 % nobody is left to compare with, so this is never shown and the stage never left"
            yield f"stages[{at}].until: {compares[0]}: {said}"
    if not policy.stages or len(policy.variations) > 1:
        yield from _untold(policy)
    last = policy.stages[-1] if policy.stages else None
    if last is not None and last.users is None and last.share >= 1.0 and policy.hold_back is None:
        yield (
            "stages: at 100 % no control is left, so harm that comes late cannot be compared with anything; "
            "hold_back: 5% keeps some"
        )


def _untold(policy: Policy) -> Iterator[str]:
    for at, guardrail in enumerate(policy.guardrails):
        if guardrail.when.signal.kind == "sample_ratio":
            said = "no stage says the share of one variation, so it is compared with what the flag store tells that it serves"
            yield f"guardrails[{at}].when: sample_ratio: {said}; of a store that does not tell it says nothing"


def _compared(policy: Policy) -> list[str]:
    bounds = (Relative, Margin)
    return [guardrail.when.text for guardrail in policy.guardrails if isinstance(guardrail.when.bound, bounds)]
