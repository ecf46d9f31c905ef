"""Weight norm folded away: what published checkpoints store as a direction and a length becomes one plain weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

PAIRS = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))
"""Length and direction, as torch's first weight norm names them and as its present one does."""


def fold_weight_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain weights from either kind of weight norm: `weight = g * v / |v|`; other tensors pass as they are.

    The norm is taken per first index, as torch does, also for transposed convolutions, whose first index is the input.

    Raises:
        ValueError: one of a pair is missing.
    """
    folded: dict[str, Tensor] = {}
    for name, value in weights.items():
        ending = next((pair for pair in PAIRS if name.endswith(pair)), None)
        if ending is None:
            folded[name] = value
            continue
        is_length = name.endswith(ending[0])
        stem = name.removesuffix(ending[0] if is_length else ending[1])
        other = stem + ending[1 if is_length else 0]
        if other not in weights:
            raise ValueError(f"expected {other} beside {name}, found none")
        if not is_length:
            norm = torch.linalg.vector_norm(value, dim=tuple(range(1, value.dim())), keepdim=True)
            folded[f"{stem}weight"] = weights[other] * value / norm
    return folded
