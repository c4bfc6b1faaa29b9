"""Which event loop everything runs on."""

from __future__ import annotations

import asyncio


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop: uvloop's, which is faster, where it is to be had; clients of Kafka are mended with it."""
    from streams.reconnecting import mend

    mend()
    try:
        import uvloop
    except ImportError:  # not made for every system
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
