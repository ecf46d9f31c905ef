"""A generator of any kind on disk: config.json and model.safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from torch import nn

from .bigvgan import BigvganConfig, BigvganGenerator
from .generator import IstftConfig, IstftGenerator, check_mel
from .harmonic import HarmonicConfig, HarmonicGenerator
from .hifigan import HifiganConfig, HifiganGenerator
from .mel import MelConfig
from .storage import MODEL, load_strictly, read_config, read_tensors, whole_folder, write_config, write_tensors

AnyGenerator: TypeAlias = IstftGenerator | HarmonicGenerator | HifiganGenerator | BigvganGenerator


def save_generator(folder: Path, generator: nn.Module, *, half: bool = False) -> None:
    """Write `config.json` and `model.safetensors`, whole or not at all.

    Args:
        generator: an `IstftGenerator`, a `HarmonicGenerator`, a `HifiganGenerator` or a `BigvganGenerator`.
        half: store the weights in float16; they are read back as float32.

    Raises:
        ValueError: the generator is of another kind.
    """
    match generator:
        case IstftGenerator():
            kind = "istft"
        case HarmonicGenerator():
            kind = "harmonic"
        case HifiganGenerator():
            kind = "hifigan"
        case BigvganGenerator():
            kind = "bigvgan"
        case _:
            raise ValueError(f"expected one of this package's generators, got {type(generator).__name__}")
    with whole_folder(Path(folder)) as filling:
        write_config(
            filling, {"kind": kind, "mel": generator.mel_config.to_dict(), "generator": generator.config.to_dict()}
        )
        write_tensors(filling / MODEL, generator.state_dict(), half=half)


def load_generator(folder: Path, mel_config: MelConfig | None = None) -> AnyGenerator:
    """The generator of `save_generator`, in float32 on the CPU, ready to speak.

    Args:
        mel_config: the analysis whose mels it will be given; None takes the generator's own.

    Raises:
        FileNotFoundError: the folder lacks a file.
        ValueError: the mel config differs from the generator's, or the files contradict each other.
    """
    folder = Path(folder)
    values = read_config(folder)
    for name in ("kind", "mel", "generator"):
        if name not in values:
            raise ValueError(f"{folder}: expected {name!r} in the config, got {sorted(values)}")
    own = MelConfig.from_dict(values["mel"])
    if mel_config is not None:
        check_mel(expected=own, got=mel_config)
    generator: AnyGenerator
    match values["kind"]:
        case "istft":
            generator = IstftGenerator(IstftConfig.from_dict(values["generator"]), own)
        case "harmonic":
            generator = HarmonicGenerator(HarmonicConfig.from_dict(values["generator"]), own)
        case "hifigan":
            generator = HifiganGenerator(HifiganConfig.from_dict(values["generator"]), own)
        case "bigvgan":
            generator = BigvganGenerator(BigvganConfig.from_dict(values["generator"]), own)
        case kind:
            raise ValueError(
                f"{folder}: expected a generator of kind 'harmonic', 'istft', 'hifigan' or 'bigvgan', got {kind!r}"
            )
    load_strictly(generator, read_tensors(folder / MODEL), str(folder / MODEL))
    return generator.eval().requires_grad_(False)
