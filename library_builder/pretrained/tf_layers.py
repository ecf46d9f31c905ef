"""Layers that pad as TensorFlow does: what is odd of the padding goes to the right and the bottom."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """A picture padded so that a window of `kernel` steps ceil(size / stride) times over it.

    Shape:
        (B, C, H, W) -> (B, C, H', W').
    """
    pads: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        whole = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        pads += [whole // 2, whole - whole // 2]
    return functional.pad(x, pads, value=value) if any(pads) else x


def same_max_pool(x: Tensor, kernel: int, stride: int) -> Tensor:
    """The largest within a window; what lies outside the picture counts for nothing.

    Shape:
        (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).
    """
    return functional.max_pool2d(same(x, kernel, stride, float("-inf")), kernel, stride)


class SeparableConv(nn.Module):
    """A 3x3 convolution within every channel, then a 1x1 one across them, with the names of TensorFlow.js.

    Shape:
        (B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise_filter = nn.Parameter(torch.zeros(inputs, 1, 3, 3))
        self.pointwise_filter = nn.Parameter(torch.zeros(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = same(x, 3, self.stride)
        x = functional.conv2d(x, self.depthwise_filter, stride=self.stride, groups=x.shape[1])
        return functional.conv2d(x, self.pointwise_filter, self.bias)


class PlainConv(nn.Module):
    """A convolution with the names of TensorFlow.js; unpadded.

    Shape:
        (B, inputs, H, W) -> (B, outputs, H', W').
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.filters = nn.Parameter(torch.zeros(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.filters, self.bias, stride=self.stride)
