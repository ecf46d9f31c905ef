"""Published vocoders: official HiFi-GAN and BigVGAN checkpoints, as their authors lay them out.

A folder holds `config.json` and one file of weights (`generator_*`, `g_*`, `bigvgan_generator.pt`), which is
`{"generator": state dict}`; only tensors are ever read of it. The config says which mels the weights were trained on,
and that is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .bigvgan import BigvganConfig, BigvganGenerator
from .checkpoint import AnyGenerator, load_generator
from .generator import check_mel
from .hifigan import HifiganConfig, HifiganGenerator, UpsamplingConfig
from .mel import MelConfig
from .storage import CONFIG, MODEL, read_config

Published: TypeAlias = HifiganGenerator | BigvganGenerator

WEIGHTS = ("bigvgan_generator.pt", "generator_*", "g_*")
"""Names of weight files as released; the discriminators' `do_*` is none of them."""
MEL_NAMES = {
    "sampling_rate": "sample_rate",
    "n_fft": "n_fft",
    "win_size": "win_samples",
    "hop_size": "hop_samples",
    "num_mels": "n_mels",
    "fmin": "f_min",
    "fmax": "f_max",
}
"""An official config's names for a mel's settings, and ours."""


def load_vocoder(source: Path, mel_config: MelConfig | None = None) -> AnyGenerator:
    """A generator from a folder or file of either kind: one of `save_generator`, or a published one.

    Args:
        mel_config: the analysis whose mels it will be given; None takes the generator's own.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the mels differ, or the weights are of another shape, broken or cut short.
    """
    source = Path(source)
    folder = source if source.is_dir() else source.parent
    if "kind" in read_config(folder):
        return load_generator(folder, mel_config)
    return load_official(source, mel_config)


def digest_of(source: Path) -> str:
    """SHA-256 of a vocoder's config and weights, of either kind.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: see `find_weights`.
    """
    source = Path(source)
    folder = source if source.is_dir() else source.parent
    weights = folder / MODEL if "kind" in read_config(folder) else find_weights(source)
    digest = hashlib.sha256((folder / CONFIG).read_bytes())
    with weights.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_official(source: Path, mel_config: MelConfig | None = None) -> Published:
    """A published generator, ready to speak: in float32 on the CPU, weight norm folded into plain weights.

    Args:
        source: the folder, or the weight file where several lie beside one config.
        mel_config: the analysis whose mels it will be given; None takes the config's own.

    Raises:
        FileNotFoundError: the config or the weights are missing.
        ValueError: the config is not of a HiFi-GAN or BigVGAN, the mels differ, or the weights are of another shape,
            broken or cut short.
    """
    source = Path(source)
    folder = source if source.is_dir() else source.parent
    values = read_config(folder)
    own = official_mel(values, str(folder / CONFIG))
    if mel_config is not None:
        check_mel(expected=mel_config, got=own)
    generator = _build(values, own, str(folder / CONFIG))
    path = find_weights(source)
    try:
        generator.load_official(read_state(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return generator.eval().requires_grad_(False)


def official_mel(values: Mapping[str, Any], source: str) -> MelConfig:
    """The mel that an official config describes; no `fmax` is half the sample rate.

    Args:
        source: where the config comes from, for the message.

    Raises:
        ValueError: a setting is missing or contradicts the others.
    """
    missing = sorted(MEL_NAMES.keys() - values.keys())
    if missing:
        raise ValueError(
            f"{source}: expected an official vocoder's config with {', '.join(MEL_NAMES)}, got none of {missing}"
        )
    found = {ours: values[theirs] for theirs, ours in MEL_NAMES.items()}
    if found["f_max"] is None:
        found["f_max"] = found["sample_rate"] / 2
    try:
        return MelConfig(**{**found, "f_min": float(found["f_min"]), "f_max": float(found["f_max"])})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from error


def find_weights(source: Path) -> Path:
    """The one weight file of a folder, or the file itself.

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are several.
    """
    if source.is_file():
        return source
    found = sorted({path for pattern in WEIGHTS for path in source.glob(pattern) if path.is_file()})
    if not found:
        raise FileNotFoundError(f"{source}: expected weights named {', '.join(WEIGHTS)}, found none")
    if len(found) > 1:
        raise ValueError(f"{source}: expected one file of weights, got {', '.join(path.name for path in found)}")
    return found[0]


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors under `generator` in an official file.

    Raises:
        ValueError: the file is broken, cut short, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch lets through whatever its reader of archives or of pickles raises
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"expected a whole torch file of tensors, got one that cannot be read ({reason})") from error
    state = content.get("generator") if isinstance(content, dict) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        held = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"expected a mapping with 'generator', a state dict; got {held}")
    return dict(state)


def _build(values: Mapping[str, Any], mel: MelConfig, source: str) -> Published:
    """BigVGAN's config names an activation, HiFi-GAN's does not."""
    try:
        if "activation" in values:
            return BigvganGenerator(BigvganConfig.from_dict(_shape(BigvganConfig, values)), mel)
        return HifiganGenerator(HifiganConfig.from_dict(_shape(HifiganConfig, values)), mel)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{source}: expected the config of a HiFi-GAN or a BigVGAN, got {error}") from error


def _shape(kind: type[UpsamplingConfig], values: Mapping[str, Any]) -> dict[str, Any]:
    """Of an official config, which also tells of training, what a generator's shape is; `resblock` is text there."""
    found = {field.name: values[field.name] for field in fields(kind) if field.name in values}
    return {**found, "resblock": int(values["resblock"])}
