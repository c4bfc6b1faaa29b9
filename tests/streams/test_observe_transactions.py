"""What becomes of a worker's transactions when another one has taken its partition over."""

from __future__ import annotations

import asyncio
import gc

import pytest
from aiokafka import TopicPartition

from streams.admin import ensure_topics
from streams.observing.transactions import TransactionFailed, Transactions

pytestmark = pytest.mark.kafka


async def test_who_is_fenced_is_told_so_and_nobody_is_warned_beside(real_cluster):
    """After another producer of the same partition has begun, a commit fails as fenced; asyncio has nothing to add to it."""
    settings = real_cluster.settings()
    await ensure_topics(settings, inputs=True)
    warned: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: warned.append(context))
    at = TopicPartition(settings.topics.outcomes[0], 0)
    late, next_one = (Transactions(settings, f"{settings.kafka.group_prefix}-observe", at) for _ in range(2))
    await late.start()
    await late.commit([], 7, "")

    await next_one.start()
    with pytest.raises(TransactionFailed) as failed:
        await late.commit([], 9, "")
    assert failed.value.fenced
    await late.stop(5.0)
    await next_one.stop(5.0)
    del failed, late  # what its traceback holds is warned of when it goes
    gc.collect()
    await asyncio.sleep(0)

    assert [] == warned
