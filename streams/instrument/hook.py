"""The OpenFeature hook: every evaluation that served a variation becomes an exposure."""

from __future__ import annotations

import logging

from openfeature.flag_evaluation import FlagEvaluationDetails, FlagValueType
from openfeature.hook import Hook, HookContext, HookHints

from streams.instrument.context import current
from streams.instrument.emitter import GuardianEmitter

log = logging.getLogger("streams.instrument")

NO_EXPOSURE = frozenset({"default", "error", "disabled", "stale"})
"""Reasons under which the code's default, or an old value, was served: that says nothing of a variation."""


class ExposureHook(Hook):
    """
    Emits one exposure for each flag a request evaluates, at the first evaluation.

    The unit is the targeting key. Outside of a request (no
    ``OutcomeMiddleware`` around it) each evaluation is an exposure. Nothing is
    emitted where no variation was served: no variant, an error, or one of the
    reasons in ``NO_EXPOSURE``. An evaluation never fails or waits because of
    this hook.
    """

    def __init__(self, emitter: GuardianEmitter) -> None:
        self._emitter = emitter

    def finally_after(
        self,
        hook_context: HookContext,
        details: FlagEvaluationDetails[FlagValueType],
        hints: HookHints,  # noqa: ARG002 - part of the interface
    ) -> None:
        """Note what the code really gets: this runs after all other hooks, whatever they did."""
        variant, reason = details.variant, str(details.reason or "").lower()
        if not variant or details.error_code is not None or reason in NO_EXPOSURE:
            return
        context_id = hook_context.evaluation_context.targeting_key or None
        request = current()
        if request is not None and not request.note(details.flag_key, variant, context_id):
            return
        version = (details.flag_metadata or {}).get("version")
        self._emitter.emit_exposure(
            details.flag_key,
            variant,
            context_id=context_id,
            reason=reason or None,
            flag_version=None if version is None else str(version),
        )
