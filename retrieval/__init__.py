"""Which clips feel like this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .editing import Change, add, commit, remove, replace_modality
    from .library import Hit, Library, Retrieved
    from .policy import Policy
else:

    def __getattr__(name: str) -> object:
        """A name of `__all__`, imported when it is first asked for: importing the package alone stays quick."""
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return value


__all__ = ["Change", "Hit", "Library", "Policy", "Retrieved", "add", "commit", "remove", "replace_modality"]
_HOMES = {
    "Change": "editing",
    "Hit": "library",
    "Library": "library",
    "Policy": "policy",
    "Retrieved": "library",
    "add": "editing",
    "commit": "editing",
    "remove": "editing",
    "replace_modality": "editing",
}
