"""Folders that are written whole or not at all, and weights read back strictly."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # so that whoever writes a folder does not wait for torch
    from torch import Tensor, nn

CONFIG = "config.json"
MODEL = "model.safetensors"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder to fill; it takes the target's name, synced to disk, when the block ends without an error.

    A folder already there is set aside, replaced and only then deleted: a reader finds the old one, the new one or,
    between the two renames, none, but never a mixture. When the second rename fails the old one is put back.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        filling = work / "new"
        filling.mkdir()
        yield filling
        for path in sorted(filling.rglob("*"), reverse=True):
            _sync(path)
        _sync(filling)
        if target.exists():
            os.rename(target, work / "old")
        try:
            os.rename(filling, target)
        except OSError:
            if (work / "old").exists():
                os.rename(work / "old", target)
            raise
        _sync(target.parent)
    finally:
        shutil.rmtree(work)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_config(folder: Path, values: Mapping[str, Any]) -> None:
    (folder / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json`.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: it is not a JSON object.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected a checkpoint folder with {CONFIG}, found none")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, half: bool = False) -> None:
    """Tensors to safetensors on the CPU; `half` stores floating-point ones in float16."""
    from safetensors.torch import save_file

    def stored(value: Tensor) -> Tensor:
        value = value.detach().cpu()
        return (value.half() if half and value.is_floating_point() else value).contiguous().clone()

    save_file({name: stored(value) for name, value in tensors.items()}, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a safetensors file, found none")
    from safetensors.torch import load_file

    return load_file(path)


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Fill a module with exactly the tensors it has, in its own precision.

    Args:
        source: where the tensors come from, for the message.

    Raises:
        ValueError: a name is missing or unknown, or a shape differs.
    """
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unknown:
        raise ValueError(
            f"{source}: expected exactly this model's weights, missing {missing[:3]}, unknown {unknown[:3]}"
        )
    for name, value in tensors.items():
        if value.shape != own[name].shape:
            raise ValueError(f"{source}: expected {name} {tuple(own[name].shape)}, got {tuple(value.shape)}")
    module.load_state_dict({name: value.to(own[name].dtype) for name, value in tensors.items()})
