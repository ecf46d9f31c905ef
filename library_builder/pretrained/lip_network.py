"""The published lip-reading network: space-time convolution, ResNet-18, multi-scale temporal convolutions.

Martinez et al. 2020, "Lipreading using Temporal Convolutional Networks" (ICASSP); Ma et al. 2021, "Towards Practical
Lipreading with Distilled and Efficient Models" (ICASSP). Parameters bear the names of the published state dicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from .source import ModelError

Activation: TypeAlias = Literal["relu", "prelu", "swish"]

_STAGES = 4
_BLOCKS = 2
"""Per stage: ResNet-18 has four stages of two blocks."""


@dataclass(frozen=True, slots=True)
class LipNetworkConfig:
    """The sizes of a lip-reading network; the defaults are those of the published `lrw_resnet18_mstcn`.

    Attributes:
        activation: older published models have learned slopes (`prelu`), newer ones `swish`.
        widths: channels of the four stages of the ResNet; the first is also that of the convolution before it.
        branch: channels of one temporal branch.
        kernels: frames that each branch looks at; None of a model that classifies otherwise and is only asked for
            features, such as the densely connected DC-TCN.
        layers: of temporal convolutions; each looks twice as far as the one before.
        words: that the model tells apart.
    """

    activation: Activation = "swish"
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    branch: int = 256
    kernels: tuple[int, ...] | None = (3, 5, 7)
    layers: int = 4
    words: int = 500


def config_of(published: Mapping[str, object], state: Mapping[str, Tensor]) -> LipNetworkConfig:
    """The sizes of a model: what the published JSON says of its kind, and its tensors of their widths.

    Raises:
        ModelError: the model is of another architecture: another trunk than a ResNet, or separable convolutions.
    """
    trunk, activation = published.get("backbone_type"), published.get("relu_type")
    if trunk != "resnet" or activation not in ("relu", "prelu", "swish"):
        raise ModelError(
            f"expected a lip-reading model with backbone_type resnet and relu_type relu, prelu or swish, got {trunk!r} "
            f"and {activation!r}"
        )
    if published.get("tcn_dwpw"):
        raise ModelError("expected a lip-reading model with plain temporal convolutions, got separable ones (tcn_dwpw)")
    try:
        first, *rest = (state[f"trunk.layer{i + 1}.0.conv1.weight"].shape[0] for i in range(_STAGES))
        words = state["tcn.tcn_output.weight"].shape[0]
        kernels = published.get("tcn_kernel_size")
        if not isinstance(kernels, Sequence) or len(kernels) < 2:
            return LipNetworkConfig(activation, (first, *rest), kernels=None, words=words)  # type: ignore[arg-type]
        layers = len({name.split(".")[3] for name in state if name.startswith("tcn.mb_ms_tcn.network.")})
        branch = state["tcn.mb_ms_tcn.network.0.cbcr0_0.conv.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise ModelError(
            f"expected the tensors of a lip-reading ResNet-18 with its TCN, there is no {error}"
        ) from error
    return LipNetworkConfig(activation, (first, *rest), branch, tuple(kernels), layers, words)  # type: ignore[arg-type]


class LipNetwork(nn.Module):
    """Grey pictures of a mouth to features per frame, and to words.

    Args:
        config: sizes.
    """

    def __init__(self, config: LipNetworkConfig) -> None:
        super().__init__()
        self.config = config
        front = config.widths[0]
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, front, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            nn.BatchNorm3d(front),
            _activation(config.activation, front),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        self.trunk = _Trunk(config)
        if config.kernels is not None:
            self.tcn = _Words(config)

    def features(self, mouths: Tensor) -> Tensor:
        """What the published extraction gives: the top of the ResNet, before the temporal convolutions.

        Every row has seen five frames; the temporal convolutions after it see the whole word.

        Shape:
            (B, V, H, W) normalised grey -> (B, V, D), D the last of the widths.
        """
        x = self.frontend3D(mouths[:, None])  # (B, C, V, H', W')
        batch, channels, frames = x.shape[:3]
        x = x.transpose(1, 2).reshape(batch * frames, channels, *x.shape[3:])  # every frame is a picture of its own
        return torch.as_tensor(self.trunk(x)).reshape(batch, frames, -1)

    def forward(self, mouths: Tensor) -> Tensor:
        """Which word is said, as scores before softmax.

        Shape:
            (B, V, H, W) -> (B, words).

        Raises:
            ModelError: the model classifies in a way that this module does not have.
        """
        if self.config.kernels is None:
            raise ModelError("expected a model with multi-scale temporal convolutions, got one for features only")
        return torch.as_tensor(self.tcn(self.features(mouths)))


class _Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


def _activation(name: Activation, channels: int) -> nn.Module:
    match name:
        case "relu":
            return nn.ReLU()
        case "prelu":
            return nn.PReLU(channels)
        case "swish":
            return _Swish()


class _Residual(nn.Module):
    """Two 3x3 convolutions and the way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = _activation(activation, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = _activation(activation, outputs)
        around = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.downsample = nn.Sequential(*around) if stride != 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.downsample is None else self.downsample(x)
        return torch.as_tensor(self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))) + around))


class _Trunk(nn.Module):
    """ResNet-18 without its first convolution, which the front has taken over."""

    def __init__(self, config: LipNetworkConfig) -> None:
        super().__init__()
        inputs = config.widths[0]
        for stage, outputs in enumerate(config.widths):
            blocks = [
                _Residual(outputs if i else inputs, outputs, 2 if stage and not i else 1, config.activation)
                for i in range(_BLOCKS)
            ]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        for stage in range(_STAGES):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x.mean(dim=(2, 3))


class _Branch(nn.Module):
    """One convolution over time, as long after as before."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, activation: Activation) -> None:
        super().__init__()
        # Published: padded twice as much on both sides, and cut back after the norm. The frames that stay are these.
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=(kernel - 1) * dilation // 2, dilation=dilation)
        self.batchnorm = nn.BatchNorm1d(outputs)
        self.non_lin = _activation(activation, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.non_lin(self.batchnorm(self.conv(x))))


class _MultiScale(nn.Module):
    """Branches of several lengths side by side, twice, and the way around them."""

    def __init__(self, inputs: int, config: LipNetworkConfig, dilation: int) -> None:
        super().__init__()
        assert config.kernels is not None
        self.branches = len(config.kernels)
        outputs = config.branch * self.branches
        for turn, width in enumerate((inputs, outputs)):
            for i, kernel in enumerate(config.kernels):
                branch = _Branch(width, config.branch, kernel, dilation, config.activation)
                setattr(self, f"cbcr{turn}_{i}", branch)
        # Published: whether the widths differ is asked of `inputs // branches`, so that equal ones get it too.
        self.downsample = nn.Conv1d(inputs, outputs, 1) if inputs // self.branches != outputs else None
        self.relu_final = _activation(config.activation, outputs)

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.downsample is None else self.downsample(x)
        for turn in (0, 1):
            x = torch.cat([getattr(self, f"cbcr{turn}_{i}")(x) for i in range(self.branches)], dim=1)
        return torch.as_tensor(self.relu_final(x + around))


class _Stack(nn.Module):
    def __init__(self, config: LipNetworkConfig) -> None:
        super().__init__()
        assert config.kernels is not None
        width = config.branch * len(config.kernels)
        inputs = [config.widths[-1]] + [width] * (config.layers - 1)
        self.network = nn.Sequential(*(_MultiScale(n, config, 2**i) for i, n in enumerate(inputs)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.network(x))


class _Words(nn.Module):
    """Multi-scale temporal convolutions, the mean over frames, and a score per word."""

    def __init__(self, config: LipNetworkConfig) -> None:
        super().__init__()
        assert config.kernels is not None
        self.mb_ms_tcn = _Stack(config)
        self.tcn_output = nn.Linear(config.branch * len(config.kernels), config.words)

    def forward(self, features: Tensor) -> Tensor:
        x = self.mb_ms_tcn(features.transpose(1, 2))  # (B, V, D) -> (B, D, V)
        return torch.as_tensor(self.tcn_output(x.mean(dim=2)))
