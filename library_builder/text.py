"""What a line says and how it feels, as a vector: a sentence embedding turned towards emotion.

A pretrained reader (RoBERTa on emotions) takes the light one's place by satisfying `TextReader` with its own space.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from .sentence import WIDTH, SentenceEncoder
from .types import Emotion, Reading

_PROTOTYPES: dict[str, tuple[str, ...]] = {
    "anger": (
        "I am furious with you.",
        "An angry shout: how dare you!",
        "I hate this, stop it at once!",
        "You will pay for this.",
    ),
    "sadness": (
        "I am so sad.",
        "I lost someone I love and I miss them.",
        "A sad, hopeless goodbye.",
        "I feel alone and I want to cry.",
    ),
    "joy": (
        "I am so happy!",
        "This is wonderful, I love it!",
        "We won, let us celebrate!",
        "What a beautiful day, thank you!",
    ),
    "fear": (
        "I am terrified.",
        "Help, it is coming to get us, run!",
        "I hear something in the dark.",
        "Please do not hurt me.",
    ),
    "surprise": (
        "I am astonished.",
        "What? I can't believe it!",
        "Wow, I did not expect that!",
        "How is that possible?",
    ),
    "calm": (
        "I am stating a plain fact.",
        "The train leaves at nine o'clock.",
        "Put this over there, please.",
        "Here is some ordinary information.",
    ),
    "disgust": ("That is disgusting.", "This smells awful, it makes me sick.", "What a revolting mess."),
    "love": ("I love you, my dear.", "You mean everything to me.", "I will always take care of you."),
    "guilt": ("I am sorry, it was my fault.", "I am ashamed of what I did.", "Please forgive me."),
    "pride": ("I am the greatest, look at me!", "I am proud of you.", "Nobody can beat us."),
    "hope": ("Everything will be all right.", "We can do this, do not give up.", "I believe in you."),
}
"""Things people say when they feel so; a line's place among them says more of its feeling than its topic does."""

_MARKS = 6
LIGHT_TEXT = f"light-text-v1/{WIDTH + len(_PROTOTYPES) + _MARKS}"

_LINE, _FACE, _SCENE = 0.7, 0.2, 0.1
"""The line speaks first; a face says more of its speaker than the colours of the room do. Shares of what is there."""
_FEELING, _TONE = 1.5, 1.0
"""Weights of prototypes and valence beside the embedding (1). By nearest neighbour (six emotions, one line left out,
chance 17 %): embedding alone, 35 % and 43 % of lines find one of their own emotion, on 48 lines for choosing and 30
others for checking; valence and marks alone, 31 % and 27 %; together, 62 % and 67 %."""


class TextReader(Protocol):
    """Anything that reads a line."""

    @property
    def space(self) -> str:
        """The space of its vectors, `<name>/<width>`."""
        ...

    def read(self, line: str, captions: Mapping[str, str]) -> Reading | None:
        """What the words feel like; None when there are none."""
        ...


class LightText:
    """MiniLM embedding, nearness to eleven feelings, and VADER valence with the marks `!` and `?`.

    The embedding alone sorts by topic ("father" near "mother"); the small blocks pull lines of one feeling together.
    Made for English: in another language the vector is valid, but its feeling is weak.
    """

    def __init__(self) -> None:
        # Loading takes a moment, and a library without words never needs it.
        self._encoder: SentenceEncoder | None = None
        self._prototypes: tuple[npt.NDArray[np.float32], ...] = ()
        self._valence = SentimentIntensityAnalyzer()

    @property
    def space(self) -> str:
        return LIGHT_TEXT

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """What a manifest tells the reader by."""
        return SentenceEncoder.weight_files()

    def read(self, line: str, captions: Mapping[str, str]) -> Reading | None:
        """The vector of a line and of what the picture's captions say; None with no line and no captions.

        Args:
            line: the words spoken; `""` when unknown.
            captions: by modality; `"scene"` and `"face"` are read, others are ignored.

        Shape:
            vector (401,).
        """
        said = {line.strip(): _LINE} if line.strip() else {}
        for modality, share in (("face", _FACE), ("scene", _SCENE)):
            caption = captions.get(modality, "").strip()
            if caption:
                said[caption] = said.get(caption, 0.0) + share
        if not said:
            return None
        mixed = sum(share * self._sentence(sentence) for sentence, share in said.items()) / sum(said.values())
        note = () if line.strip() else ("text: no line, captions read alone",)
        vector = np.asarray(mixed, dtype=np.float64)
        return Reading(Emotion(LIGHT_TEXT, (vector / np.linalg.norm(vector)).astype(np.float32)), notes=note)

    def _sentence(self, sentence: str) -> npt.NDArray[np.float64]:
        encoder = self._ready()
        embedding = encoder.encode(sentence)
        # The two nearest things said: a line is like some way of being angry, not like all of them.
        nearness = np.array([np.sort(group @ embedding)[-2:].mean() for group in self._prototypes], dtype=np.float64)
        # Centred: what a line shares with every feeling is that it is a sentence.
        nearness -= nearness.mean()
        nearness /= max(float(np.linalg.norm(nearness)), 1e-9)
        return np.concatenate([embedding, _FEELING * nearness, _TONE * self._tone(sentence)])

    def _tone(self, sentence: str) -> npt.NDArray[np.float64]:
        scores = self._valence.polarity_scores(sentence)
        marks = ("!" in sentence, "?" in sentence)
        return np.array([scores["compound"], scores["neg"], scores["pos"], 1 - scores["neu"], *marks], dtype=np.float64)

    def _ready(self) -> SentenceEncoder:
        if self._encoder is None:
            encoder = SentenceEncoder.load()
            self._prototypes = tuple(np.stack([encoder.encode(one) for one in group]) for group in _PROTOTYPES.values())
            self._encoder = encoder
        return self._encoder
