"""Dub a line the way an actor works with a director: from footage that feels like it."""

__version__ = "0.1.0"
