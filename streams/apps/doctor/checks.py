"""One check: bounded in time, and whatever goes wrong in it is something that it has found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from guardian.errors import GuardianError
from streams.findings import Finding

CHECK_S = 5.0
"""What one check may take."""
SKEW_S = 2.0
"""How far another clock may be from this one until it is told: signatures are refused, and events come too early."""
_NO_ANSWER = "see whether it is up, and whether this machine may reach it"
_UNEXPECTED = "nothing is known of it; look at it by hand, and tell the makers of Rollout Guardian the word in brackets"


async def checked(about: str, work: Awaitable[Iterable[Finding]], *, within_s: float = CHECK_S) -> list[Finding]:
    """What *work* finds; that it takes too long or fails is a finding, too, which is called *about*. Raises nothing."""
    try:
        async with asyncio.timeout(within_s):
            return list(await work)
    except TimeoutError:
        return [Finding("error", about, f"no answer within {within_s:g} s", _NO_ANSWER)]
    except GuardianError as error:
        return [Finding("error", about, str(error))]
    except Exception as error:  # noqa: BLE001 - who looks for trouble must not be some; its text may hold a secret
        return [Finding("error", about, f"could not be looked at ({type(error).__name__})", _UNEXPECTED)]


async def together(*checks: Awaitable[list[Finding]]) -> list[Finding]:
    """What all of them find, side by side, in their order."""
    return [finding for found in await asyncio.gather(*checks) for finding in found]
