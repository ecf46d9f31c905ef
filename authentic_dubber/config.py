"""One tree of frozen settings for the acoustic model, with three named sizes and a toy one.

`paper` is the published network, parts and training (reference network parts A and B; `training/mends.py` names what
is mended); `starter` trains on two CPU cores; `small` is for a corpus of an hour; `tiny` is for tests. All are of the
same classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from graphs import GraphConfig
from vocoder import MelConfig

Block: TypeAlias = Literal["convnext", "fft"]
Decay: TypeAlias = Literal["cosine", "noam"]
Aggregation: TypeAlias = Literal["hierarchical", "single"]


@dataclass(frozen=True, slots=True)
class StackConfig:
    """A stack of residual blocks over a sequence.

    Raises:
        ValueError: unknown block kind, or a width the heads do not divide.
    """

    width: int
    layers: int
    block: Block = "convnext"
    """`convnext`: depthwise convolution and two linear layers; `fft`: self-attention and a convolutional FFN."""
    kernel: int = 7
    hidden: int = 0
    """Width inside a block; 0 means four times `width`."""
    heads: int = 2
    """Attention heads of `fft` blocks."""
    attention_every: int = 0
    """In a `convnext` stack, one self-attention after every so many blocks; 0 means none."""
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.block not in ("convnext", "fft"):
            raise ValueError(f"known blocks are convnext and fft, got {self.block!r}")
        if self.width % self.heads:
            raise ValueError(f"heads must divide the width, got {self.heads} and {self.width}")

    @property
    def inner(self) -> int:
        return self.hidden or 4 * self.width


@dataclass(frozen=True, slots=True)
class TimingConfig:
    """From lips and words to durations."""

    heads: int = 8
    """Of the phoneme-lip attention."""
    band: float = 0.1
    """Half-width of the rewarded diagonal, as a share of the lip sequence."""
    hidden: int = 256
    kernel: int = 3
    dropout: float = 0.3
    attention_dropout: float = 0.0
    focused: bool = False
    """The diagonal is rewarded in each line's most focused head alone, as published; otherwise in the heads' mean."""
    slowest: float = 0.6
    """Speaking rate allowed for a line that must fill a long slot, relative to the model's own rate."""
    fastest: float = 1.5
    """The same for a short slot. A line that would need more is not squeezed; it gets a verdict."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How the acoustic model is trained: losses and schedule.

    Raises:
        ValueError: an unknown decay, or more references at least than at most.
    """

    batch: int = 16
    """Lines of one update, over all processes and parts."""
    pool: int = 6
    """This many batches are drawn at once and sorted by length, so that little of a batch is padding."""
    learning_rate: float = 1e-3
    warmup: int = 500
    total_steps: int = 20_000
    """The learning rate falls along a half cosine until here."""
    decay: Decay = "cosine"
    """`noam`: after the warm-up the rate falls with the square root of the step, wherever the training ends."""
    falls: tuple[int, ...] = ()
    """Steps from which a `noam` rate is `fall` times what it was."""
    fall: float = 0.3
    weight_decay: float = 0.01
    epsilon: float = 1e-8
    """Adam's."""
    clip: float = 1.0
    mel_weight: float = 1.0
    duration_weight: float = 0.2
    diagonal_weight: float = 0.02
    speaker_weight: float = 0.2
    likeness_weight: float = 0.3
    """Of the made mel's speaker vector, as the style encoder hears it, against the recording's."""
    emotion_weight: float = 0.2
    """Of the director."""
    head_weight: float = 0.0
    """Of the emotion head over the frames, where there is one."""
    prosody_weight: float = 0.1
    rehearsed: int = 0
    """Further lines of every step, without recordings, judged by ears; 0 rehearses nothing."""
    voice_weight: float = 0.5
    feeling_weight: float = 0.02
    """Of the two ears: as much as moves a voice without making it speak to its judges."""
    told: float = 0.7
    """Share of labelled lines that are told their feeling; the others hear the director's, so that it learns too."""
    max_references: int = 10
    """K is drawn up to this for every line, so that one checkpoint answers for every K."""
    min_references: int = 0
    own_drop: float = 0.15
    """Chance that a modality of the line itself is hidden, so that off-screen lines are not a surprise."""
    lip_drop: float = 0.3
    augmented: float = 0.0
    """Share of lines that are drawn slower, faster, or with a noisy prompt."""
    prompt_seconds: float = 3.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        object.__setattr__(self, "falls", tuple(self.falls))
        if self.decay not in ("cosine", "noam"):
            raise ValueError(f"known decays are cosine and noam, got {self.decay!r}")
        if not 0 <= self.min_references <= self.max_references:
            raise ValueError(
                f"expected 0 <= min_references <= max_references, got {self.min_references} and {self.max_references}"
            )


@dataclass(frozen=True, slots=True)
class DubberConfig:
    """Everything a checkpoint must carry to be built again.

    Attributes:
        spaces: emotion space per modality, as `{"scene": "light-scene-v1/48", ...}`.
        symbols: name of the phone inventory; `symbol_count` its size with padding.
        emotions: taxonomy of the emotion head, in the order of its logits.

    Raises:
        ValueError: the graph's input widths are not those the spaces name.
    """

    name: str
    symbols: str
    symbol_count: int
    spaces: Mapping[str, str]
    emotions: tuple[str, ...]
    lip_space: str
    width: int
    speaker_width: int
    phonemes: StackConfig
    style: StackConfig
    lips: StackConfig
    decoder: StackConfig
    postnet_width: int
    postnet_layers: int
    timing: TimingConfig
    graph: GraphConfig
    aggregation: Aggregation = "hierarchical"
    """Whether frames ask the three nested graphs in turn, or the last and largest alone, for comparison."""
    expression: float = 1.0
    """How far a feeling is carried beyond its prediction when it is spoken as felt. A regression predicts the mean of
    many readings, which is tamer than any of them; chosen when a checkpoint is packaged, 1 in training."""
    loudness: Mapping[str, float] = field(default_factory=dict)
    """Per emotion, nepers above the same voice's neutral speech: measured on acted recordings when a checkpoint is
    packaged. Corpora set their levels in different ways, so a prediction of energy alone may turn the wrong way."""
    f0_range: Mapping[str, float] = field(default_factory=dict)
    """Per emotion, log of the range of F0 in hertz over that of the same voice's neutral speech, measured as loudness
    is: a melody that was predicted, and judged by ears, need not widen where people's does."""
    conviction: float = 1.0
    """Factor on the director's logits: above one it doubts less, and a doubtful feeling is a weak one."""
    cross: StackConfig | None = None
    """The cross-modal transformer from symbols to the prompt's style; None: one attention."""
    melody: bool = True
    """Pitch, voicing and energy of each symbol are predicted and spoken."""
    felt: bool = True
    """The decoder is told the director's judgement. Otherwise a feeling reaches the voice from the graph alone, and the
    director only reads it: it teaches nothing but itself."""
    emotion_head: bool = False
    """The frames are asked what they feel after the last aggregation, which teaches graph and aggregators."""
    aggregator_dropout: float = 0.1
    postnet_dropout: float = 0.0
    postnet_norm: bool = False
    """One norm, shared by the postnet's layers and adapted to the voice."""
    mel: MelConfig = field(default_factory=MelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        for modality, space in self.spaces.items():
            width = int(space.rpartition("/")[2])
            if self.graph.in_widths[modality] != width:
                raise ValueError(
                    f"{modality}: the graph takes vectors of width {self.graph.in_widths[modality]}, "
                    f"but the space is {space}"
                )
        if self.aggregation not in get_args(Aggregation):
            raise ValueError(f"known aggregations are hierarchical and single, got {self.aggregation!r}")
        if not 1 <= self.expression <= 2:
            raise ValueError(f"expected an expression from 1 to 2, got {self.expression:g}")

    @property
    def lip_width(self) -> int:
        return int(self.lip_space.rpartition("/")[2])

    def to_json(self) -> str:
        values = asdict(self)
        values |= {name: dict(getattr(self, name)) for name in ("spaces", "loudness", "f0_range")}
        values["graph"] = self.graph.to_dict()
        return json.dumps(values, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> DubberConfig:
        v: dict[str, Any] = json.loads(text)
        for name in ("phonemes", "style", "lips", "decoder", "cross"):
            v[name] = StackConfig(**v[name]) if v.get(name) else None
        v["timing"], v["train"] = TimingConfig(**v["timing"]), TrainConfig(**v["train"])
        v["graph"], v["mel"] = GraphConfig.from_dict(v["graph"]), MelConfig.from_dict(v["mel"])
        v["emotions"] = tuple(v["emotions"])
        return cls(**v)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the data decides and no size may choose: inventories and spaces."""

    symbols: str
    symbol_count: int
    spaces: Mapping[str, str]
    lip_space: str
    emotions: tuple[str, ...]

    def widths(self) -> dict[str, int]:
        return {modality: int(space.rpartition("/")[2]) for modality, space in self.spaces.items()}


def build_config(size: str, words: Vocabulary, mel: MelConfig | None = None) -> DubberConfig:
    """A named size for a given vocabulary.

    Raises:
        ValueError: unknown size; the known ones are named.
    """
    match size:
        case "paper":
            return _paper(words, mel or MelConfig())
        case "starter":
            return _starter(words, mel or MelConfig())
        case "small":
            return _small(words, mel or MelConfig())
        case "tiny":
            return _tiny(words, mel or MelConfig())
    raise ValueError(f"known sizes are paper, starter, small and tiny; got {size!r}")


def _vocabulary_fields(words: Vocabulary) -> dict[str, Any]:
    return {name: getattr(words, name) for name in Vocabulary.__slots__}


def _paper(words: Vocabulary, mel: MelConfig) -> DubberConfig:
    return DubberConfig(
        name="paper",
        **_vocabulary_fields(words),
        width=256,
        speaker_width=256,
        phonemes=StackConfig(256, 12, "fft", kernel=9, hidden=1024, heads=8, dropout=0.2),
        style=StackConfig(256, 4, "fft", kernel=5, hidden=1024, heads=2, dropout=0.1),
        lips=StackConfig(512, 4, "fft", kernel=9, hidden=1024, heads=2, dropout=0.2),
        decoder=StackConfig(256, 24, "fft", kernel=9, hidden=1024, heads=4, dropout=0.2),
        cross=StackConfig(128, 16, "fft", kernel=1, hidden=512, heads=8, dropout=0.1),
        melody=False,
        felt=False,
        emotion_head=True,
        postnet_width=256,
        postnet_layers=5,
        postnet_dropout=0.5,
        postnet_norm=True,
        timing=TimingConfig(heads=8, hidden=256, kernel=1, dropout=0.5, attention_dropout=0.2, focused=True),
        graph=GraphConfig(in_widths=words.widths(), width=256, heads=2),
        mel=mel,
        train=published_training(),
    )


def published_training() -> TrainConfig:
    """Losses and schedule as published (reference 1.9 and 1.10), for a model that has the published parts.

    The mel's share is counted in units of the network, 2.2 nepers each, and is 5 a neper as published.
    """
    return TrainConfig(
        batch=32,
        pool=4,
        learning_rate=0.00625 * 4000**-0.5,
        warmup=4000,
        total_steps=1_000_000,
        decay="noam",
        falls=(300_000, 400_000, 500_000),
        weight_decay=0.0,
        epsilon=1e-9,
        mel_weight=5 * 2.2,
        duration_weight=5.0,
        diagonal_weight=1.0,
        speaker_weight=25.0,
        likeness_weight=0.0,
        emotion_weight=1.0,
        head_weight=5.0,
        prosody_weight=0.0,
        told=0.0,
        min_references=3,
        max_references=3,
        own_drop=0.0,
        lip_drop=0.0,
        ema=0.0,
    )


def _starter(words: Vocabulary, mel: MelConfig) -> DubberConfig:
    return DubberConfig(
        name="starter",
        **_vocabulary_fields(words),
        width=192,
        speaker_width=256,
        phonemes=StackConfig(192, 4, kernel=5, heads=4, attention_every=2),
        style=StackConfig(128, 2, kernel=5),
        lips=StackConfig(96, 2, kernel=5),
        decoder=StackConfig(192, 8, kernel=7, dropout=0.0),
        postnet_width=96,
        postnet_layers=3,
        timing=TimingConfig(heads=4, hidden=192),
        graph=GraphConfig(in_widths=words.widths(), width=128, heads=2, dropout=0.1),
        mel=mel,
        # On two cores many small steps reach further in an hour than few large ones.
        train=TrainConfig(batch=8, rehearsed=4, augmented=0.3),
    )


def _small(words: Vocabulary, mel: MelConfig) -> DubberConfig:
    return DubberConfig(
        name="small",
        **_vocabulary_fields(words),
        width=128,
        speaker_width=256,
        phonemes=StackConfig(128, 4, kernel=5, heads=4, attention_every=2),
        style=StackConfig(96, 2, kernel=5),
        lips=StackConfig(64, 2, kernel=5),
        decoder=StackConfig(160, 6, kernel=7, dropout=0.0),
        postnet_width=64,
        postnet_layers=3,
        timing=TimingConfig(heads=4, hidden=128),
        graph=GraphConfig(in_widths=words.widths(), width=64, heads=2, dropout=0.1),
        mel=mel,
        train=TrainConfig(batch=8),
    )


def _tiny(words: Vocabulary, mel: MelConfig) -> DubberConfig:
    stack = StackConfig(16, 1, kernel=3, hidden=32, attention_every=1)
    return DubberConfig(
        name="tiny",
        **_vocabulary_fields(words),
        width=16,
        speaker_width=256,
        phonemes=stack,
        style=stack,
        lips=stack,
        decoder=stack,
        postnet_width=8,
        postnet_layers=2,
        timing=TimingConfig(heads=2, hidden=16),
        graph=GraphConfig(in_widths=words.widths(), width=16, heads=2, dropout=0.0),
        mel=mel,
        train=TrainConfig(batch=2, warmup=2, total_steps=50),
    )
