"""What retrieved feelings say to a line: three nested graphs and the attention that passes over them. Tensors only."""

from .dialogue import DialogueGraph, collate
from .encoder import GraphConfig, Nodes, ProgressiveEncoder, Stages

__all__ = ["DialogueGraph", "GraphConfig", "Nodes", "ProgressiveEncoder", "Stages", "collate"]
