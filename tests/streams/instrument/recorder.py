"""An emitter that keeps what it is told, and a flag provider with four flags, for tests that need no Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from streams.instrument import ExposureHook, GuardianEmitter
from streams.instrument.events import Exposure, Outcome


class Recorder(GuardianEmitter):
    """The real emitter, never started; reads its own queues."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1", "production", "shop")

    async def start(self) -> None:
        """Stay stopped: what is put in stays in."""

    @property
    def exposures(self) -> list[Exposure]:
        return [event for event, _ in self._exposures._queue if isinstance(event, Exposure)]

    @property
    def outcomes(self) -> list[Outcome]:
        return [event for event, _ in self._outcomes._queue if isinstance(event, Outcome)]

    @property
    def outcome(self) -> Outcome:
        (outcome,) = self.outcomes
        return outcome

    @property
    def outcome_times_ms(self) -> list[int]:
        return [at_ms for _, at_ms in self._outcomes._queue]


def _answer(variant: str | None, reason: Reason | str, metadata: Mapping[str, Any] | None = None) -> InMemoryFlag[bool]:
    def evaluate(flag: InMemoryFlag[bool], context: EvaluationContext) -> FlagResolutionDetails[bool]:
        return FlagResolutionDetails(value=True, variant=variant, reason=reason, flag_metadata=metadata or {})

    return InMemoryFlag("on", {"on": True, "off": False}, context_evaluator=evaluate)


def _broken(flag: InMemoryFlag[bool], context: EvaluationContext) -> FlagResolutionDetails[bool]:
    raise RuntimeError("the rules are broken")


def client_with(recorder: Recorder, *answers: Any) -> OpenFeatureClient:
    """Return a client of a provider with flags ``checkout-v2``, ``new-cart``, ``broken`` and those of ``answers``."""
    flags = {
        "checkout-v2": _answer("treatment", Reason.SPLIT, {"version": 17}),
        "new-cart": _answer("control", Reason.TARGETING_MATCH),
        "broken": InMemoryFlag("on", {"on": True}, context_evaluator=_broken),
    }
    flags |= {name: _answer(*answer) for name, *answer in answers}
    api.set_provider_and_wait(InMemoryProvider(flags))
    api.add_hooks([ExposureHook(recorder)])
    return api.get_client()


def unit(name: str) -> EvaluationContext:
    return EvaluationContext(targeting_key=name)
