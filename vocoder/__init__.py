"""Mel to sound. Knows nothing of text, pictures or files of sound."""

from .mel import MelConfig, log_mel

__all__ = ["MelConfig", "log_mel"]
