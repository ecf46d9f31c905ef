"""HiFi-GAN's generator (Kong et al. 2020, https://arxiv.org/abs/2010.05646), with the official module names.

Official checkpoints load as they are; their weight normalisation is folded into plain weights on the way in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .generator import check_shape
from .mel import MelConfig
from .storage import load_strictly
from .weight_norm import fold_weight_norm

if TYPE_CHECKING:
    from typing_extensions import Self

SLOPE = 0.1
LAST_SLOPE = 0.01
"""The published code leaves the last activation at its library's default; trained weights expect that."""


@dataclass(frozen=True, slots=True)
class UpsamplingConfig:
    """What HiFi-GAN and its descendants share: levels of upsampling, residual blocks after each.

    Field names follow the official `config.json`.

    Raises:
        ValueError: lists that describe the same layers differ in length, or a rate and kernel cannot align.
    """

    resblock: Literal[1, 2] = 1
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    upsample_initial_channel: int = 512
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))

    def __post_init__(self) -> None:
        if self.resblock not in (1, 2):
            raise ValueError(f"expected resblock 1 or 2, got {self.resblock!r}")
        if len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            raise ValueError(
                f"expected one kernel per rate, got {self.upsample_rates} and {self.upsample_kernel_sizes}"
            )
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            raise ValueError(
                f"expected a dilation list per kernel {self.resblock_kernel_sizes}, got {self.resblock_dilation_sizes}"
            )
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            if kernel < rate or (kernel - rate) % 2:
                raise ValueError(f"expected kernel = rate + an even number, got kernel {kernel} for rate {rate}")

    @property
    def hop_samples(self) -> int:
        """Samples made per mel frame."""
        return prod(self.upsample_rates)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From JSON, whose lists become tuples."""
        dilations = tuple(tuple(one) for one in values["resblock_dilation_sizes"])
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list | tuple)}
        return cls(**{**values, **lists, "resblock_dilation_sizes": dilations})


@dataclass(frozen=True, slots=True)
class HifiganConfig(UpsamplingConfig):
    """Shape of a HiFi-GAN generator.

    Raises:
        ValueError: see `UpsamplingConfig`.
    """

    @classmethod
    def v1(cls) -> HifiganConfig:
        """The best sounding and slowest of the published three."""
        return cls()

    @classmethod
    def v2(cls) -> HifiganConfig:
        """V1 at a quarter of the width."""
        return cls(upsample_initial_channel=128)

    @classmethod
    def v3(cls) -> HifiganConfig:
        """Fewer, simpler residual blocks."""
        return cls(
            resblock=2,
            upsample_rates=(8, 8, 4),
            upsample_kernel_sizes=(16, 16, 8),
            upsample_initial_channel=256,
            resblock_kernel_sizes=(3, 5, 7),
            resblock_dilation_sizes=((1, 2), (2, 6), (3, 12)),
        )

    @classmethod
    def tiny(cls, resblock: Literal[1, 2] = 1) -> HifiganConfig:
        """The smallest honest one with the default mel's hop, for tests."""
        return cls(
            resblock=resblock,
            upsample_rates=(16, 16),
            upsample_kernel_sizes=(32, 32),
            upsample_initial_channel=8,
            resblock_kernel_sizes=(3, 5),
            resblock_dilation_sizes=((1, 3), (1, 2)),
        )


def same_convolution(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    """A convolution that keeps the width and the length."""
    return nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)


class ResBlock1(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair added to its input.

    Shape:
        (B, D, S) -> (B, D, S)
    """

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_convolution(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(same_convolution(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(functional.leaky_relu(dilated(functional.leaky_relu(x, SLOPE)), SLOPE))
        return x


class ResBlock2(nn.Module):
    """Dilated convolutions, each added to its input.

    Shape:
        (B, D, S) -> (B, D, S)
    """

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same_convolution(channels, kernel, dilation) for dilation in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for dilated in self.convs:
            x = x + dilated(functional.leaky_relu(x, SLOPE))
        return x


class LevelledGenerator(nn.Module):
    """What HiFi-GAN and its descendants build alike: a first convolution, then levels, each of which lifts the rate by
    a transposed convolution and averages several receptive fields.

    A descendant adds its last convolution as `conv_post`.

    Args:
        config: its shape; the upsampling rates multiply to the mel's hop.
        mel_config: the mels it reads.
        block: one receptive field of a level, given width, kernel and dilations.
        lift: what checkpoints know a transposed convolution as.

    Raises:
        ValueError: the rates do not multiply to the hop.
    """

    name: ClassVar[str]
    """What its weights are called where they do not fit."""

    def __init__(
        self,
        config: UpsamplingConfig,
        mel_config: MelConfig,
        block: Callable[[int, int, tuple[int, ...]], nn.Module],
        lift: Callable[[nn.Module], nn.Module] = lambda up: up,
    ) -> None:
        super().__init__()
        if config.hop_samples != mel_config.hop_samples:
            raise ValueError(f"expected rates that multiply to {mel_config.hop_samples}, got {config.upsample_rates}")
        self.mel_config = mel_config
        width = config.upsample_initial_channel
        self.conv_pre = nn.Conv1d(mel_config.n_mels, width, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            self.ups.append(lift(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2)))
            width //= 2
            for size, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True):
                self.resblocks.append(block(width, size, dilations))
        self.last_width = width

    def averaged(self, x: Tensor, level: int) -> Tensor:
        """The mean of a level's receptive fields.

        Shape:
            (B, D, S) -> (B, D, S)
        """
        fields = len(self.resblocks) // len(self.ups)
        mixed = torch.zeros_like(x)
        for block in self.resblocks[level * fields : (level + 1) * fields]:
            mixed = mixed + block(x)
        return mixed / fields

    def load_official(self, weights: Mapping[str, Tensor]) -> None:
        """Take an official state dict, weight norm and all.

        Raises:
            ValueError: the weights are of another shape.
        """
        load_strictly(self, fold_weight_norm(weights), f"{self.name} weights")


class HifiganGenerator(LevelledGenerator):
    """Transposed convolutions up to the sample rate, with several receptive fields averaged after each.

    Args:
        config: its shape; the upsampling rates multiply to the mel's hop.
        mel_config: the mels it reads.

    Shape:
        (B, F, T) -> (B, S) with S = T * hop

    Raises:
        ValueError: the rates do not multiply to the hop.
    """

    name = "HiFi-GAN"

    def __init__(self, config: HifiganConfig, mel_config: MelConfig) -> None:
        super().__init__(config, mel_config, ResBlock1 if config.resblock == 1 else ResBlock2)
        self.config = config
        self.conv_post = nn.Conv1d(self.last_width, 1, 7, padding=3)

    def forward(self, mel: Tensor) -> Tensor:
        check_shape(mel, self.mel_config)
        x = self.conv_pre(mel)
        for level, up in enumerate(self.ups):
            x = self.averaged(up(functional.leaky_relu(x, SLOPE)), level)
        x = self.conv_post(functional.leaky_relu(x, LAST_SLOPE))
        return torch.tanh(x)[:, 0]
