"""
What a service adds to be watched: exposures and outcomes of its OpenFeature flags, sent to Kafka.

Five lines in a Starlette or FastAPI service::

    from openfeature import api
    from streams.instrument import ExposureHook, GuardianEmitter, OutcomeMiddleware

    emitter = GuardianEmitter("localhost:9092", environment="production", service_name="checkout-api")
    api.add_hooks([ExposureHook(emitter)])
    app.add_middleware(OutcomeMiddleware, emitter=emitter)

Any other ASGI application is wrapped: ``app = OutcomeMiddleware(app, emitter)``.
Evaluate flags with a targeting key (``EvaluationContext(targeting_key=user_id)``): it
is the unit by which the guardian counts. This package needs ``openfeature-sdk``, ``aiokafka``
and ``msgspec``, nothing else of this project.

What it promises: no request waits for Kafka, none fails because of it, and an
event that could not be sent is counted and said, never hidden.
"""

from __future__ import annotations

from streams.instrument.context import annotate
from streams.instrument.emitter import EmitterStats, GuardianEmitter
from streams.instrument.hook import ExposureHook
from streams.instrument.middleware import OutcomeMiddleware, route_operation

__all__ = [
    "EmitterStats",
    "ExposureHook",
    "GuardianEmitter",
    "OutcomeMiddleware",
    "annotate",
    "route_operation",
]
