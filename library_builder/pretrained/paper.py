"""The readers that the paper names: captions of scene and face, lines and reactions, felt by a classifier of emotions.

Paper section "Multimodal Reference Footage Library".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from library_builder.face import FaceReading
from library_builder.scene import look_at
from library_builder.tracking import FaceTrack, FaceTracker
from library_builder.types import Emotion, Frame, Modality, Reading, Unread

from .caption_notes import EMPTY, felt_note, flag_notes, flags
from .pictures import choose
from .prompts import PROMPTS, Colours, face_prompt, scene_prompt
from .reaction import RELATION, ReactionModel
from .source import ModelSource, facts_of
from .text_emotion import EmotionClassifier, Felt
from .video_llm import Answer, VideoLLM

_AROUND = 1.4
"""Side of the square shown of a face, in sides of its box: brows, chin and some hair belong to it."""
_SIDES = (56, 448)
"""Least and most pixels of that square."""


class _Named:
    """What each of these readers says of itself."""

    def __init__(self, space: str, facts: Mapping[str, str]) -> None:
        self._space, self._facts = space, facts

    @property
    def space(self) -> str:
        return self._space

    @property
    def facts(self) -> Mapping[str, str]:
        """What a manifest keeps of the models besides."""
        return self._facts


class _Captioned(_Named):
    """What scene and face have in common: ask, look whether the answer is one, and feel it."""

    def __init__(self, modality: Modality, model: VideoLLM, classifier: EmotionClassifier) -> None:
        self._modality, self._model, self._classifier = modality, model, classifier
        sources = {"video_llm": model.source, "classifier": classifier.source}
        facts = facts_of(sources, f"{PROMPTS} {model.place.precision}")
        super().__init__(space_of(modality, sources, PROMPTS, classifier.width), facts)

    def ready(self) -> None:
        """Load the weights now; raises as the models' own."""
        self._model.ready()
        self._classifier.ready()

    def _ask(self, asked: Sequence[tuple[Sequence[Frame], Callable[[Colours], str]]]) -> list[Reading | Unread]:
        there = [n for n, (frames, _) in enumerate(asked) if frames]
        questions = []
        for n in there:
            frames, prompt = asked[n]
            few = choose(frames, self._model.pictures)
            questions.append((few, prompt(Colours.of(look_at(few)))))
        answers = dict(zip(there, self._model.answer(questions), strict=True))
        found = {n: flags(answer.text, finished=answer.finished) for n, answer in answers.items()}
        good = [n for n in there if EMPTY not in found[n]]
        felt = dict(zip(good, self._classifier.feel([answers[n].text for n in good]), strict=True))
        return [
            self._reading(answers[n], felt[n], found[n]) if n in felt else Unread(self._why(found.get(n)))
            for n in range(len(asked))
        ]

    def _reading(self, answer: Answer, felt: Felt, found: Sequence[str]) -> Reading:
        notes = (*flag_notes(self._modality, found), felt_note(self._modality, felt.label, felt.share))
        return Reading(Emotion(self.space, felt.vector), answer.text, notes)

    def _why(self, found: Sequence[str] | None) -> tuple[str, ...]:
        return (f"{self._modality}: no frames",) if found is None else flag_notes(self._modality, found)


class CaptionedScene(_Captioned):
    """A shot in the words of a video language model, and what those feel like."""

    def __init__(self, model: VideoLLM, classifier: EmotionClassifier) -> None:
        super().__init__("scene", model, classifier)

    def read(self, frames: Sequence[Frame]) -> Reading | None:
        """The caption and its vector; None without frames, or when the model said nothing."""
        reading = self.read_all([frames])[0]
        return reading if isinstance(reading, Reading) else None

    def read_all(self, shots: Sequence[Sequence[Frame]]) -> list[Reading | Unread]:
        """Every shot's reading, in order; that of one of which nothing was said, or nothing is shown, says so.

        Shape:
            vectors (D,), D being the classifier's width.
        """
        return self._ask([(frames, scene_prompt) for frames in shots])


class CaptionedFace(_Captioned):
    """A face in the words of a video language model, which is shown the face alone, and what those feel like."""

    def __init__(self, model: VideoLLM, classifier: EmotionClassifier) -> None:
        super().__init__("face", model, classifier)
        self._tracker = FaceTracker()

    def track(self, frames: Sequence[Frame]) -> FaceTrack:
        """Where the face is, without a word about it.

        Shape:
            boxes (V, 4).
        """
        return self._tracker.track(frames)

    def read(self, frames: Sequence[Frame]) -> FaceReading:
        """The caption of the face, its vector, and the track."""
        return self.read_all([frames])[0]

    def read_all(self, shots: Sequence[Sequence[Frame]]) -> list[FaceReading]:
        """Every shot's face, in order; where there is none, or nothing was said of it, the notes say so.

        Shape:
            vectors (D,); track boxes (V, 4).
        """
        tracks = [self._tracker.track(frames) for frames in shots]
        there = [n for n, track in enumerate(tracks) if track.found != "none"]
        crops = [face_crops(shots[n], tracks[n]) for n in there]
        said = dict(zip(there, self._ask([(crop, face_prompt) for crop in crops]), strict=True))
        return [_face(track, said.get(n)) for n, track in enumerate(tracks)]


def _face(track: FaceTrack, said: Reading | Unread | None) -> FaceReading:
    if said is None:
        return FaceReading(None, track, ("face: no face and no moving region found",))
    notes = () if track.found == "face" else ("face: no face found, moving region used",)
    if isinstance(said, Unread):
        return FaceReading(None, track, (*notes, *said.notes))
    return FaceReading(Reading(said.emotion, said.caption, (*notes, *said.notes)), track, notes)


def face_crops(frames: Sequence[Frame], track: FaceTrack) -> tuple[Frame, ...]:
    """A square around the face in each frame, all of one size, the picture's rim drawn out where the square leaves it.

    Args:
        track: of these frames, with something found.
    """
    sides = _AROUND * track.boxes[:, 2:].max(axis=1)
    size = int(np.clip(round(float(sides.max())), *_SIDES))
    crops = []
    for frame, (left, top, width, height), side in zip(frames, track.boxes, sides, strict=True):
        scale = size / side
        corner = np.array([left + width / 2 - side / 2, top + height / 2 - side / 2])
        step = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
        image = cv2.warpAffine(frame.image, step, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        crops.append(Frame(frame.time, np.asarray(image, dtype=np.uint8)))
    return tuple(crops)


class ClassifiedText(_Named):
    """What a line feels like to the classifier; with a model of reactions, that of the reaction follows it.

    Each half has the length √½, so that the cosine of two lines is the mean of their halves' cosines.
    """

    def __init__(self, classifier: EmotionClassifier, reactions: ReactionModel | None = None) -> None:
        self._classifier, self._reactions = classifier, reactions
        sources = {"classifier": classifier.source} | ({"reaction": reactions.source} if reactions else {})
        how = f"line+{RELATION}" if reactions else "line"
        facts = facts_of(sources, f"{how} {reactions.place.precision}" if reactions else how)
        super().__init__(space_of("text", sources, how, classifier.width * (2 if reactions else 1)), facts)

    def ready(self) -> None:
        """Load the weights now; raises as the models' own."""
        self._classifier.ready()
        if self._reactions is not None:
            self._reactions.ready()

    def read(self, line: str, captions: Mapping[str, str]) -> Reading | None:
        """The line's vector; None without words. Captions are not read again: scene and face have vectors of them."""
        return self.read_all([(line, captions)])[0]

    def read_all(self, lines: Sequence[tuple[str, Mapping[str, str]]]) -> list[Reading | None]:
        """Every line's reading, in order.

        Shape:
            vectors (D,), or (2 D,) with reactions.
        """
        said = [" ".join(line.split()) for line, _ in lines]
        there = [line for line in dict.fromkeys(said) if line]
        reacted = dict(zip(there, self._reactions.react(there), strict=True)) if self._reactions is not None else {}
        texts = list(dict.fromkeys([*there, *(text for text in reacted.values() if text)]))
        felt = dict(zip(texts, self._classifier.feel(texts), strict=True)) if texts else {}
        return [self._reading(line, felt, reacted) if line else None for line in said]

    def _reading(self, line: str, felt: Mapping[str, Felt], reacted: Mapping[str, str]) -> Reading:
        own = felt[line]
        notes = [felt_note("text", own.label, own.share)]
        vector = own.vector
        if self._reactions is not None:
            reaction = reacted[line]
            notes.append(f"text: reaction {reaction}" if reaction else "text: no reaction, the line stands for it")
            # A line without a reaction is compared by itself in both halves.
            other = felt[reaction].vector if reaction else own.vector
            vector = np.concatenate([own.vector, other]) * np.float32(np.sqrt(0.5))
        return Reading(Emotion(self._space, vector), notes=tuple(notes))


def space_of(modality: str, sources: Mapping[str, ModelSource], how: str, width: int) -> str:
    """The name of a space: vectors of other weights or other prompts are not to be compared with these."""
    parts = [how, *(f"{role} {source.sha256}" for role, source in sorted(sources.items()))]
    return f"paper-{modality}/{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:8]}/{width}"
