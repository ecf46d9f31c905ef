"""Which clips feel like this one."""

from .library import Hit, Library, Retrieved, commit

__all__ = ["Hit", "Library", "Retrieved", "commit"]
