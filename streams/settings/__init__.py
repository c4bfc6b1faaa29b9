"""The settings: ``config/guardian.yaml``, the environment over it, files for secrets; checked whole, then frozen."""

from __future__ import annotations

from streams.settings.load import DEFAULT_PATH, load_settings
from streams.settings.settings import Settings

__all__ = ["DEFAULT_PATH", "Settings", "load_settings"]
