"""What retrieved feelings say to a line: three nested graphs and the attention that passes over them. Tensors only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .dialogue import DialogueGraph, collate
    from .encoder import GraphConfig, Nodes, ProgressiveEncoder, Stages
else:

    def __getattr__(name: str) -> object:
        """A name of `__all__`, imported when it is first asked for: importing the package alone stays quick."""
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return value


__all__ = ["DialogueGraph", "GraphConfig", "Nodes", "ProgressiveEncoder", "Stages", "collate"]
_HOMES = {
    "DialogueGraph": "dialogue",
    "collate": "dialogue",
    "GraphConfig": "encoder",
    "Nodes": "encoder",
    "ProgressiveEncoder": "encoder",
    "Stages": "encoder",
}
