"""Mel to wave: the protocol every generator keeps, and the starter's own, a ConvNeXt that paints an inverse STFT.

After Vocos (Siuzdak 2023, https://arxiv.org/abs/2306.00814): no upsampling, all layers run at the mel's frame rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import log
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from .mel import MelConfig

MAX_MAGNITUDE = 1e2
"""Louder bins than any wave in [-1, 1] needs; a young network would else explode through the exponential."""


class Generator(Protocol):
    """What turns mels into sound.

    Attributes:
        mel_config: the analysis whose mels it understands.
    """

    mel_config: MelConfig

    def __call__(self, mel: Tensor) -> Tensor:
        """Shape: (B, F, T) -> (B, S) with S = T * hop."""
        ...


def check_mel(expected: MelConfig, got: MelConfig) -> None:
    """Refuse a mel made by another analysis.

    Raises:
        ValueError: the configs differ; the message names each setting that does.
    """
    ours, theirs = expected.to_dict(), got.to_dict()
    changed = [name for name in ours if ours[name] != theirs[name]]
    if changed:
        wanted = ", ".join(f"{name}={ours[name]}" for name in changed)
        given = ", ".join(f"{name}={theirs[name]}" for name in changed)
        raise ValueError(f"mel configs differ: expected {wanted}, got {given}")


def check_shape(mel: Tensor, config: MelConfig) -> None:
    """Refuse what is not a batch of mels.

    Raises:
        ValueError: the tensor is not (B, F, T) with this config's F and at least one frame.
    """
    if mel.dim() != 3 or mel.shape[1] != config.n_mels or mel.shape[2] < 1:
        raise ValueError(f"expected a mel (B, {config.n_mels}, T >= 1), got shape {tuple(mel.shape)}")


@dataclass(frozen=True, slots=True)
class IstftConfig:
    """Size of an `IstftGenerator`.

    Raises:
        ValueError: a size is not positive, or the kernel is even and so has no centre.
    """

    dim: int = 256
    blocks: int = 8
    expansion: int = 3
    kernel: int = 7

    def __post_init__(self) -> None:
        if min(self.dim, self.blocks, self.expansion, self.kernel) < 1 or self.kernel % 2 == 0:
            raise ValueError(f"expected positive sizes and an odd kernel, got {self}")

    @classmethod
    def tiny(cls) -> IstftConfig:
        """The smallest honest one, for tests."""
        return cls(dim=16, blocks=2)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IstftConfig:
        return cls(**values)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer network on each frame, added to the input.

    Shape:
        (B, D, T) -> (B, D, T)
    """

    def __init__(self, config: IstftConfig) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(config.dim, config.dim, config.kernel, padding=config.kernel // 2, groups=config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.widen = nn.Linear(config.dim, config.expansion * config.dim)
        self.narrow = nn.Linear(config.expansion * config.dim, config.dim)
        # Blocks start small so that a deep stack begins near the identity.
        self.scale = nn.Parameter(torch.full((config.dim,), 1 / config.blocks))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).transpose(1, 2))  # (B, D, T) -> (B, T, D)
        y = self.scale * self.narrow(functional.gelu(self.widen(y)))
        return x + y.transpose(1, 2)  # (B, T, D) -> (B, D, T)


class InverseStft(nn.Module):
    """Magnitude and phase to samples, frames centred as `mel.magnitude` centres them.

    `torch.istft` insists on its own centring; this overlap-add trims (n_fft - hop) / 2 instead, so T frames are
    exactly T * hop samples, and divides by the summed squared window so that a perfect spectrum returns its wave.

    Shape:
        complex (B, n_fft / 2 + 1, T) -> (B, S) with S = T * hop

    Raises:
        ValueError: the windows leave samples uncovered.
    """

    window: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.n_fft, self.hop = config.n_fft, config.hop_samples
        side = config.n_fft - config.win_samples
        window = functional.pad(torch.hann_window(config.win_samples), (side // 2, side - side // 2))
        self.register_buffer("window", window, persistent=False)
        lowest = self._overlap_add(window.square()[None, :, None].expand(1, -1, 2 * self.n_fft // self.hop + 1)).min()
        if lowest < 1e-4:
            raise ValueError(
                f"expected windows that cover every sample, got window {config.win_samples}, hop {config.hop_samples}"
            )

    def forward(self, spectrum: Tensor) -> Tensor:
        frames = torch.fft.irfft(spectrum, self.n_fft, dim=1) * self.window[:, None]
        envelope = self.window.square()[None, :, None].expand(1, -1, spectrum.shape[2])
        return self._overlap_add(frames) / self._overlap_add(envelope)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        count = frames.shape[2]
        length = (count - 1) * self.hop + self.n_fft
        summed = functional.fold(frames, (1, length), kernel_size=(1, self.n_fft), stride=(1, self.hop))
        pad = (self.n_fft - self.hop) // 2
        return summed[:, 0, 0, pad : pad + count * self.hop]


class IstftGenerator(nn.Module):
    """The starter's vocoder: ConvNeXt blocks at frame rate, a head of log-magnitude and phase, an inverse STFT.

    Args:
        config: its size.
        mel_config: the mels it reads; the inverse STFT uses the same window and hop.
        seed: of the initial weights; the global random state is left as it was.

    Shape:
        (B, F, T) -> (B, S) with S = T * hop
    """

    def __init__(self, config: IstftConfig, mel_config: MelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config, self.mel_config = config, mel_config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Conv1d(mel_config.n_mels, config.dim, config.kernel, padding=config.kernel // 2)
            self.first_norm = nn.LayerNorm(config.dim)
            self.blocks = nn.Sequential(*(ConvNeXtBlock(config) for _ in range(config.blocks)))
            self.last_norm = nn.LayerNorm(config.dim)
            self.head = nn.Linear(config.dim, mel_config.n_fft + 2)
            self.apply(initialise)
        self.istft = InverseStft(mel_config)

    def forward(self, mel: Tensor) -> Tensor:
        check_shape(mel, self.mel_config)
        x = self.first_norm(self.embed(mel).transpose(1, 2)).transpose(1, 2)
        x = self.last_norm(self.blocks(x).transpose(1, 2))  # (B, D, T) -> (B, T, D)
        # Three digits are not enough for a phase, nor for a magnitude behind an exponential.
        with torch.autocast(mel.device.type, enabled=False):
            log_magnitude, phase = self.head(x.float()).transpose(1, 2).chunk(2, dim=1)
            # Clamped before the exponential: after it, an infinity would turn the gradient into NaN.
            magnitude = torch.exp(log_magnitude.clamp(max=log(MAX_MAGNITUDE)))
            return self.istft(torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase)))


def initialise(module: nn.Module) -> None:
    """Vocos's first weights for one layer: narrow, and no bias."""
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        assert module.bias is not None, "every layer here has a bias"
        nn.init.zeros_(module.bias)
