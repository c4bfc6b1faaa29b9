"""A real Unleash for tests, from npm."""

from tests.support.stores.unleash.installed import installed, why_not
from tests.support.stores.unleash.people import Unleash, token, weights_of
from tests.support.stores.unleash.server import ADMIN, SDK, address, hook_port

__all__ = ["ADMIN", "SDK", "Unleash", "address", "hook_port", "installed", "token", "weights_of", "why_not"]
