"""A size made narrower, or without dropout: for machines and comparisons that the whole would not fit."""

from __future__ import annotations

from dataclasses import replace

from .config import DubberConfig, StackConfig


def narrowed(config: DubberConfig, width: int) -> DubberConfig:
    """The same parts, each as much narrower as the model is: the depths, losses and schedule stay.

    Raises:
        ValueError: a part's width would not be a whole number of its heads.
    """

    def part(whole: int) -> int:
        if whole * width % config.width:
            raise ValueError(f"expected a width that narrows {whole} of {config.width} to a whole number, got {width}")
        return whole * width // config.width

    def stack(size: StackConfig) -> StackConfig:
        return replace(size, width=part(size.width), hidden=part(size.inner))

    return replace(
        config,
        width=width,
        phonemes=stack(config.phonemes),
        style=stack(config.style),
        lips=stack(config.lips),
        decoder=stack(config.decoder),
        cross=None if config.cross is None else stack(config.cross),
        postnet_width=part(config.postnet_width),
        timing=replace(config.timing, hidden=part(config.timing.hidden)),
        graph=replace(config.graph, width=part(config.graph.width)),
    )


def without_dropout(config: DubberConfig) -> DubberConfig:
    """The same model, but an update throws no dice: what a machine computes can then be compared."""

    def stack(size: StackConfig) -> StackConfig:
        return replace(size, dropout=0.0)

    return replace(
        config,
        phonemes=stack(config.phonemes),
        style=stack(config.style),
        lips=stack(config.lips),
        decoder=stack(config.decoder),
        cross=None if config.cross is None else stack(config.cross),
        aggregator_dropout=0.0,
        postnet_dropout=0.0,
        timing=replace(config.timing, dropout=0.0, attention_dropout=0.0),
        graph=replace(config.graph, dropout=0.0),
    )
