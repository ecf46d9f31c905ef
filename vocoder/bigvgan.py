"""BigVGAN's generator (Lee et al. 2023, https://arxiv.org/abs/2206.04658), with the official module names.

HiFi-GAN's levels of upsampling, with ripples in place of its leaky lines, none of which alias. The published method
dubs with `bigvgan_v2_22khz_80band_fmax8k_256x`, whose shape `BigvganConfig.v2_22khz` is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from .antialias import AntialiasedSnake
from .generator import check_shape
from .hifigan import LevelledGenerator, ResBlock1, ResBlock2, UpsamplingConfig
from .mel import MelConfig


@dataclass(frozen=True, slots=True)
class BigvganConfig(UpsamplingConfig):
    """Shape of a BigVGAN generator.

    Raises:
        ValueError: the activation is unknown, or see `UpsamplingConfig`.
    """

    upsample_rates: tuple[int, ...] = (4, 4, 2, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (8, 8, 4, 4, 4, 4)
    upsample_initial_channel: int = 1536
    activation: Literal["snake", "snakebeta"] = "snakebeta"
    snake_logscale: bool = True
    use_tanh_at_final: bool = True
    """Otherwise samples beyond [-1, 1] are clipped. Configs from before the choice existed mean tanh."""
    use_bias_at_final: bool = True

    def __post_init__(self) -> None:
        UpsamplingConfig.__post_init__(self)
        if self.activation not in ("snake", "snakebeta"):
            raise ValueError(f"expected activation snake or snakebeta, got {self.activation!r}")

    @classmethod
    def v2_22khz(cls) -> BigvganConfig:
        """`bigvgan_v2_22khz_80band_fmax8k_256x`: 112 M parameters."""
        return cls(use_tanh_at_final=False, use_bias_at_final=False)

    @classmethod
    def tiny(cls, resblock: Literal[1, 2] = 1) -> BigvganConfig:
        """The smallest honest one with the default mel's hop, for tests."""
        return cls(
            resblock=resblock,
            upsample_rates=(16, 16),
            upsample_kernel_sizes=(32, 32),
            upsample_initial_channel=8,
            resblock_kernel_sizes=(3, 5),
            resblock_dilation_sizes=((1, 3), (1, 2)),
            use_tanh_at_final=False,
            use_bias_at_final=False,
        )


def _activation(channels: int, config: BigvganConfig) -> AntialiasedSnake:
    return AntialiasedSnake(channels, separate=config.activation == "snakebeta", log_scale=config.snake_logscale)


class AmpBlock1(ResBlock1):
    """Pairs of a dilated and a plain convolution, a ripple before each, each pair added to its input.

    Shape:
        (B, D, S) -> (B, D, S)
    """

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], config: BigvganConfig) -> None:
        super().__init__(channels, kernel, dilations)
        self.activations = nn.ModuleList(_activation(channels, config) for _ in range(2 * len(dilations)))

    def forward(self, x: Tensor) -> Tensor:
        ripples = iter(self.activations)
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            y = dilated(next(ripples)(x))
            x = x + plain(next(ripples)(y))
        return x


class AmpBlock2(ResBlock2):
    """Dilated convolutions, a ripple before each, each added to its input.

    Shape:
        (B, D, S) -> (B, D, S)
    """

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], config: BigvganConfig) -> None:
        super().__init__(channels, kernel, dilations)
        self.activations = nn.ModuleList(_activation(channels, config) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for ripple, dilated in zip(self.activations, self.convs, strict=True):
            x = x + dilated(ripple(x))
        return x


class BigvganGenerator(LevelledGenerator):
    """Transposed convolutions up to the sample rate; several receptive fields, averaged after each, that do not alias.

    Args:
        config: its shape; the upsampling rates multiply to the mel's hop.
        mel_config: the mels it reads.

    Shape:
        (B, F, T) -> (B, S) with S = T * hop

    Raises:
        ValueError: the rates do not multiply to the hop.
    """

    name = "BigVGAN"

    def __init__(self, config: BigvganConfig, mel_config: MelConfig) -> None:
        block = partial(AmpBlock1 if config.resblock == 1 else AmpBlock2, config=config)
        super().__init__(config, mel_config, block, lift=nn.Sequential)  # checkpoints know a list of lists of one
        self.config = config
        self.activation_post = _activation(self.last_width, config)
        self.conv_post = nn.Conv1d(self.last_width, 1, 7, padding=3, bias=config.use_bias_at_final)

    def forward(self, mel: Tensor) -> Tensor:
        check_shape(mel, self.mel_config)
        x = self.conv_pre(mel)
        for level, up in enumerate(self.ups):
            x = self.averaged(up(x), level)
        x = self.conv_post(self.activation_post(x))[:, 0]
        return torch.tanh(x) if self.config.use_tanh_at_final else x.clamp(-1, 1)
