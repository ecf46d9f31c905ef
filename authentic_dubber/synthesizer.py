"""Text, lips, prompt and feeling in, mel out: the acoustic model (reference network parts A and B)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from graphs import DialogueGraph, ProgressiveEncoder
from graphs.encoder import Nodes, Stages

from .blocks import AdaptiveNorm, Stack, length_mask, masked_mean
from .config import DubberConfig
from .director import NEUTRAL, Director, acted, carried
from .encoders import CrossModal, LipEncoder, PhonemeEncoder, StyleEncoder
from .prosody import Prosody, ProsodyEmbedding, ProsodyPredictor, as_loud, as_wide, dialled
from .timing import DurationPredictor, PhonemeLipAttention, place_in_symbol, regulate

MEL_MEAN, MEL_SCALE = -5.0, 2.2
"""Log mels of speech lie around the mean with about this spread; the network works in these units."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A batch of lines as tensors.

    Shape:
        symbols (B, N) from 1, 0 is padding; symbol_lengths (B,); prompt (B, F, R) log mel of another recording of the
        speaker; prompt_lengths (B,); speaker (B, C) unit; lips (B, V, L), lip_lengths (B,) with 0 for off-screen;
        graph: the line's own and retrieved feelings, B lines; feeling (B, E) shares that stand in for the director's
        judgement where `directed` (B,) is True; strength (B,), 0 neutral, 1 as felt.
    """

    symbols: Tensor
    symbol_lengths: Tensor
    prompt: Tensor
    prompt_lengths: Tensor
    speaker: Tensor
    lips: Tensor
    lip_lengths: Tensor
    graph: DialogueGraph
    feeling: Tensor
    directed: Tensor
    strength: Tensor

    def chosen(self, rows: Tensor) -> Inputs:
        """Some of the lines, with no more padding than they need.

        Shape:
            (B',).
        """

        def part(values: Tensor, lengths: Tensor, dim: int) -> Tensor:
            return values[rows].narrow(dim, 0, max(1, int(lengths[rows].max())))

        return Inputs(
            symbols=part(self.symbols, self.symbol_lengths, 1),
            symbol_lengths=self.symbol_lengths[rows],
            prompt=part(self.prompt, self.prompt_lengths, 2),
            prompt_lengths=self.prompt_lengths[rows],
            speaker=self.speaker[rows],
            lips=part(self.lips, self.lip_lengths, 1),
            lip_lengths=self.lip_lengths[rows],
            graph=self.graph.chosen(rows),
            feeling=self.feeling[rows],
            directed=self.directed[rows],
            strength=self.strength[rows],
        )

    def to(self, device: torch.device | str) -> Inputs:
        return Inputs(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True, slots=True)
class Encoded:
    """A line before its frames exist."""

    fused: Tensor
    """Symbols in the prompt's style, (B, N, D)."""
    log_durations: Tensor
    """log(frames + 1), (B, N)."""
    attention: Tensor
    """Symbols over lips, (B, N, 1 + V)."""
    speaker: Tensor
    """Predicted speaker vector, (B, C)."""
    condition: Tensor
    """What the decoder's norms adapt to, voice and feeling, (B, D)."""
    prosody: Prosody
    """As predicted, (B, N) each."""
    emotion: Tensor
    """The director's logits over the taxonomy, (B, E)."""
    stages: Stages
    """The line's graph, encoded."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """Mels in natural-log units."""

    before: Tensor
    """Without the postnet, (B, F, T)."""
    mel: Tensor
    """(B, F, T)."""
    lengths: Tensor
    emotion: Tensor | None = None
    """What the emotion head hears in the frames, logits (B, E); None for a model without that head."""


class Aggregator(nn.Module):
    """One step of the hierarchical aggregation: frames attend to a stage's nodes and absorb what they find.

    E = Conv1D([H ; CA(H, G, G)]), with one extra learned node that means "nothing felt", so that a line without any
    modality still has something to attend to.

    Shape:
        frames (B, T, D), nodes (B, N, G), node mask (B, N) -> (B, T, D).
    """

    def __init__(self, width: int, node_width: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            width, 1, dropout=dropout, kdim=node_width, vdim=node_width, batch_first=True
        )
        self.nothing = nn.Parameter(torch.zeros(node_width))
        self.merge = nn.Linear(2 * width, width, bias=False)

    def forward(self, frames: Tensor, nodes: Tensor, mask: Tensor) -> Tensor:
        nodes = torch.cat([self.nothing.expand(len(nodes), 1, -1), nodes.to(frames.dtype)], dim=1)
        mask = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)
        felt, _ = self.attention(frames, nodes, nodes, key_padding_mask=~mask, need_weights=False)
        result: Tensor = self.merge(torch.cat([frames, felt], dim=2))
        return result


class PostNet(nn.Module):
    """Convolutions that sharpen the decoder's mel; a residual is added to it.

    Published with batch norms and a norm of the voice's own; here the latter alone (`postnet_norm`), since statistics
    of a batch would make a line's sound depend on its neighbours, on padding, and on how many processes train.

    Shape:
        (B, T, F), (B, T), condition (B, C) -> (B, T, F).
    """

    def __init__(self, config: DubberConfig) -> None:
        super().__init__()
        mels, width = config.mel.n_mels, config.postnet_width
        sizes = [mels, *([width] * (config.postnet_layers - 1)), mels]
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 5, padding=2) for a, b in itertools.pairwise(sizes))
        self.norm = AdaptiveNorm(width, config.width) if config.postnet_norm else None
        self.dropout = nn.Dropout(config.postnet_dropout)

    def forward(self, mel: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        x, row = mel.transpose(1, 2), mask[:, None].to(mel.dtype)  # (B, T, F) -> (B, F, T)
        for conv in self.convs[:-1]:
            x = conv(x * row)
            if self.norm is not None:
                x = self.norm(x.transpose(1, 2), condition).transpose(1, 2)  # (B, D, T) -> (B, T, D) and back
            x = self.dropout(torch.tanh(x))
        x = self.convs[-1](x * row)
        return x.transpose(1, 2)


class Synthesizer(nn.Module):
    """The acoustic model.

    Args:
        config: sizes, spaces and inventories; stored with every checkpoint.
    """

    def __init__(self, config: DubberConfig) -> None:
        super().__init__()
        self.config = config
        width, node_width = config.width, config.graph.width
        self.phonemes = PhonemeEncoder(config)
        self.style = StyleEncoder(config)
        self.style_attention = (
            nn.MultiheadAttention(width, config.timing.heads, batch_first=True)
            if config.cross is None
            else CrossModal(config.cross, width)
        )
        self.condition = nn.Linear(config.speaker_width + width, width)
        self.director = Director(config)
        if config.felt:
            self.feeling = nn.Linear(len(config.emotions), width, bias=False)
            nn.init.zeros_(self.feeling.weight)
            # People do not all feel alike: what a feeling does to a voice depends on the voice.
            self.blend = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
            for weight in self.blend[2].parameters():
                nn.init.zeros_(weight)
        if config.melody:
            self.prosody = ProsodyPredictor(config)
            self.melody = ProsodyEmbedding(width)
        self.lips = LipEncoder(config)
        self.lip_attention = PhonemeLipAttention(config)
        self.durations = DurationPredictor(config)
        self.graph = ProgressiveEncoder(config.graph)
        asked = 3 if config.aggregation == "hierarchical" else 1
        self.aggregators = nn.ModuleList(Aggregator(width, node_width, config.aggregator_dropout) for _ in range(asked))
        self.heard_emotion = nn.Linear(width, len(config.emotions)) if config.emotion_head else None
        self.place = nn.Linear(2, width)
        self.fuse = nn.Linear(2 * width, config.decoder.width)
        self.decoder = Stack(config.decoder, condition_width=width)
        self.out = nn.Linear(config.decoder.width, config.mel.n_mels)
        self.postnet = PostNet(config)

    def encode(self, inputs: Inputs) -> Encoded:
        """Everything up to durations and melody."""
        text = self.phonemes(inputs.symbols, inputs.symbol_lengths)
        prompt = (inputs.prompt - MEL_MEAN) / MEL_SCALE
        tokens, token_mask, speaker = self.style(prompt, inputs.prompt_lengths)
        fused = 0.5 * (text + self._styled(text, inputs.symbol_lengths, tokens, token_mask))
        voice = self.condition(torch.cat([inputs.speaker, masked_mean(tokens, token_mask)], dim=1))
        stages = self.graph(inputs.graph)
        emotion = self.director(stages if self.config.felt else _untaught(stages))
        judged = (self.config.conviction * emotion.float()).softmax(1)
        felt = torch.where(inputs.directed[:, None], inputs.feeling, judged)
        strength = carried(inputs.strength, self.config.expression)
        condition = self._coloured(voice, acted(felt, strength, self.config.emotions.index(NEUTRAL)))
        lips, lip_mask = self.lips(inputs.lips, inputs.lip_lengths)
        seen, attention = self.lip_attention(text, inputs.symbol_lengths, lips, lip_mask)
        log_durations = self.durations(text + seen, inputs.symbol_lengths, condition)
        prosody = self._melody(fused, inputs.symbol_lengths, voice, felt, strength)
        return Encoded(fused, log_durations, attention, speaker, condition, prosody, emotion, stages)

    def _styled(self, text: Tensor, lengths: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """What each symbol takes from the prompt, (B, N, D)."""
        if isinstance(self.style_attention, CrossModal):
            crossed: Tensor = self.style_attention(text, lengths, tokens, mask)
            return crossed
        styled, _ = self.style_attention(text, tokens, tokens, key_padding_mask=~mask, need_weights=False)
        return styled

    def _coloured(self, voice: Tensor, shares: Tensor) -> Tensor:
        """A voice in a feeling, (B, D)."""
        if not self.config.felt:
            return voice
        feeling = self.feeling(shares)
        result: Tensor = voice + feeling + self.blend(torch.cat([voice, feeling], dim=1))
        return result

    def _melody(self, fused: Tensor, lengths: Tensor, voice: Tensor, felt: Tensor, strength: Tensor) -> Prosody:
        """The felt melody, moved along the line from the neutral one by the strength."""
        if not self.config.melody:
            flat = fused.new_zeros(fused.shape[:2], dtype=torch.float32)
            return Prosody(flat, flat, flat)
        full: Prosody = self.prosody(fused, lengths, self._coloured(voice, felt))
        tables = (self.config.loudness, self.config.f0_range)
        if bool((strength == 1).all()) and not any(tables):
            return full
        still = acted(felt, torch.zeros_like(strength), self.config.emotions.index(NEUTRAL))
        rest: Prosody = self.prosody(fused, lengths, self._coloured(voice, still))
        moved = dialled(rest, full, strength)
        nepers, log_range = (
            strength * (felt @ felt.new_tensor([table.get(name, 0.0) for name in self.config.emotions]))
            for table in tables
        )
        if self.config.f0_range:
            moved = as_wide(moved, rest, lengths, log_range)
        return as_loud(moved, rest, lengths, nepers) if self.config.loudness else moved

    def decode(self, encoded: Encoded, durations: Tensor, prosody: Prosody | None = None) -> Spoken:
        """Frames of given durations, coloured by the graph: basic, then indirect, then direct.

        Args:
            prosody: recorded, in training; the predicted one by default.

        Shape:
            durations (B, N) whole frames.
        """
        symbols = encoded.fused
        if self.config.melody:
            symbols = symbols + self.melody(encoded.prosody if prosody is None else prosody)
        frames, lengths = regulate(symbols, durations)
        longest = frames.shape[1]
        mask = length_mask(lengths, longest)
        frames = (frames + self.place(place_in_symbol(durations, longest))) * mask[:, :, None]
        felt, stages = frames, encoded.stages
        asked = (stages.basic, stages.indirect, stages.direct)[-len(self.aggregators) :]
        for aggregate, nodes in zip(self.aggregators, asked, strict=True):
            felt = aggregate(felt, nodes.features, nodes.mask)
        emotion = None if self.heard_emotion is None else self.heard_emotion(masked_mean(felt, mask))
        x = self.fuse(torch.cat([frames, felt], dim=2))
        before = self.out(self.decoder(x, mask, encoded.condition))
        after = before + self.postnet(before, mask, encoded.condition)
        return Spoken(_mel_units(before), _mel_units(after), lengths, emotion)

    def predicted_frames(self, encoded: Encoded, lengths: Tensor) -> Tensor:
        """The model's own durations before any fitting, in frames, zero where padded.

        Shape:
            (B, N).
        """
        frames = torch.expm1(encoded.log_durations.float()).clamp(min=0.3, max=200)
        return frames * length_mask(lengths, frames.shape[1])


def _untaught(stages: Stages) -> Stages:
    """The same nodes for a reader that must not change them."""
    return Stages(
        *(Nodes(nodes.features.detach(), nodes.mask) for nodes in (stages.basic, stages.indirect, stages.direct))
    )


def _mel_units(x: Tensor) -> Tensor:
    return (x.float() * MEL_SCALE + MEL_MEAN).transpose(1, 2)  # (B, T, F) -> (B, F, T)
