"""Weights of others into networks of ours: plain tensors are read, and refused unless they are the network's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from .source import ModelError

State: TypeAlias = Mapping[str, Tensor]

_WRAPPERS = ("model_state_dict", "state_dict", "model")
"""What training scripts call the weights within a checkpoint."""
_NAMED = 3
"""Names told in an error; a wrong architecture lacks hundreds."""
_COUNTER = "num_batches_tracked"
"""Of batch norms: counts training steps, and older checkpoints lack it."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a torch checkpoint by name; those of data-parallel training lose their `module.`.

    Only plain values and tensors are read from the file; anything else in it is refused unread.

    Raises:
        ModelError: the file is not there, truncated, or holds something other than a state dict.
    """
    if not path.is_file():
        raise ModelError(f"{path}: expected a torch state dict, there is no such file")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    # Torch lets its unpickler's errors through; naming that module ourselves would be one import too many.
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, torch.serialization.pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0][:120] or type(error).__name__
        raise ModelError(
            f"{path}: expected a torch state dict, got a truncated file or one that holds more than tensors: {reason}"
        ) from error
    for name in _WRAPPERS:
        if isinstance(stored, Mapping) and isinstance(stored.get(name), Mapping):
            stored = stored[name]
            break
    if not isinstance(stored, Mapping) or not stored or not all(isinstance(value, Tensor) for value in stored.values()):
        raise ModelError(f"{path}: expected a torch state dict, got {type(stored).__name__} without tensors by name")
    return {str(name).removeprefix("module."): value for name, value in stored.items()}


def fill(network: nn.Module, state: State, what: str, *, spare: Collection[str] = ()) -> None:
    """Puts weights into a network, which then answers: evaluation mode, no gradients.

    Args:
        what: the file and the architecture, for errors.
        spare: beginnings of names that the state may hold and the network lacks.

    Raises:
        ModelError: a tensor is missing, of another shape, not finite, or one too many.
    """
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith(_COUNTER)}
    given = {name: value for name, value in state.items() if not name.endswith(_COUNTER)}
    missing = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted and not name.startswith(tuple(spare))]
    if missing or unknown:
        told = [f"without {_some(missing)}"] * bool(missing) + [f"with {_some(unknown)}"] * bool(unknown)
        raise ModelError(f"{what}: expected its {len(wanted)} tensors, got {len(given)}, {' and '.join(told)}")
    for name, value in wanted.items():
        if value.shape != given[name].shape:
            raise ModelError(f"{what}: expected {name} of shape {tuple(value.shape)}, got {tuple(given[name].shape)}")
        if not torch.isfinite(given[name]).all():
            raise ModelError(f"{what}: expected finite weights, got NaN or infinity in {name}")
    network.load_state_dict({name: given[name] for name in wanted}, strict=False)
    network.eval().requires_grad_(False)


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
