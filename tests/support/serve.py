"""``python -m tests.support.serve SETTINGS``: the API as a process; prints its address once it is ready."""

from __future__ import annotations

import asyncio
import signal
import sys

from streams.apps.api import run_api
from streams.settings import Settings
from streams.status import Status
from tests.support.page import until


async def serve(settings: Settings) -> None:
    status = Status("api")
    serving = asyncio.create_task(run_api(settings, status))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    await until(lambda: status.is_ready, "the API is ready")
    print(f"http://127.0.0.1:{status.numbers['port']}", flush=True)
    await asyncio.wait({serving})


if __name__ == "__main__":
    asyncio.run(serve(Settings.model_validate_json(sys.argv[1])))
