"""What readers make of the pictures and words of lines, several lines at once where a reader can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from library_builder.feeling import ClipEmotions, Seen, feel_some_again
from library_builder.readers import Readers
from library_builder.types import Emotion, Frame, Modality


@dataclass(frozen=True, slots=True)
class Looked:
    """What readers made of one line.

    Attributes:
        emotions: of its scene, face and words, as far as there are any.
        described: of the captions alone, where that was asked for.
    """

    emotions: Mapping[Modality, Emotion]
    described: Emotion | None


def look_at_lines(
    shown: Sequence[Sequence[Frame]], readers: Readers, texts: Sequence[str], *, describe: bool = True
) -> list[Looked]:
    """What the readers make of lines, which are asked about together where a reader can: each line's words are read
    with the captions of what is seen of it, as at inference.

    Args:
        shown: pictures of each line; there may be none.
        describe: read the captions alone too.

    Raises:
        ValueError, ArithmeticError, RuntimeError, cv2.error: a reader choked on a line, alone too.
    """
    lines = [Seen(tuple(frames), None) for frames in shown]
    emotions: list[dict[Modality, Emotion]] = [{} for _ in lines]
    captions: list[dict[str, str]] = [{} for _ in lines]
    pictured = [n for n, line in enumerate(lines) if line.frames]
    pictures: tuple[Modality, ...] = ("scene", "face")
    for modality in pictures:
        for n, felt in zip(pictured, _ask(modality, [lines[n] for n in pictured], readers), strict=True):
            emotions[n] |= felt.emotions
            captions[n] |= felt.captions
    for n, felt in enumerate(_ask("text", lines, readers, texts, captions)):
        emotions[n] |= felt.emotions
    if not describe:
        return [Looked(own, None) for own in emotions]
    described = _ask("text", lines, readers, [""] * len(lines), captions)
    return [Looked(own, alone.emotions.get("text")) for own, alone in zip(emotions, described, strict=True)]


def _ask(
    modality: Modality,
    lines: Sequence[Seen],
    readers: Readers,
    texts: Sequence[str] = (),
    captions: Sequence[Mapping[str, str]] = (),
) -> list[ClipEmotions]:
    texts, captions = texts or [""] * len(lines), captions or [{}] * len(lines)
    found = feel_some_again(modality, lines, texts, captions, readers)
    for one in found:
        if isinstance(one, Exception):
            raise one
    return [one for one in found if not isinstance(one, Exception)]
