"""Readers that need weights of others: the one door to them, and the installation that cures a missing package.

Nothing heavy is imported before a reader is asked for.
"""

from __future__ import annotations

from importlib.util import find_spec

from .source import ModelError, ModelSource, find_model

__all__ = ["INSTALL", "ModelError", "ModelSource", "find_model", "require"]

INSTALL = 'pip install "authentic-dubber[pretrained]"'


def require(module: str, what: str, install: str = INSTALL) -> None:
    """Makes sure that a package is installed before work begins that needs it.

    Args:
        module: as it is imported.
        what: that needs it, for people.

    Raises:
        ImportError: it is not; the installation that cures it is named.
    """
    if find_spec(module) is None:
        raise ImportError(f"{what}: expected the package {module}, which is not installed: {install}")
