"""Readers asked about several stretches at once: the same answers, fewer questions, and a reason when it fails."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from authentic_dubber.looking import look_at_lines
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.pictures import prepare_looks
from library_builder.face import FaceReading
from library_builder.feeling import Seen, feel_some_again
from library_builder.readers import Readers, build_readers
from library_builder.tracking import FaceTrack
from library_builder.types import Emotion, Frame, Reading, Unread

SPACE = "toy/2"
TRACK = FaceTrack(np.tile([1.0, 1.0, 2.0, 2.0], (2, 1)), "face")


class Pictures:
    """Tells how light a shot is; `most` stretches at once are what it can bear."""

    space = SPACE

    def __init__(self, *, face: bool = False, most: int = 99) -> None:
        self.asked: list[int] = []
        self._face, self._most = face, most

    def read(self, frames: Sequence[Frame]) -> Any:
        return self.read_all([frames])[0]

    def read_all(self, shots: Sequence[Sequence[Frame]]) -> list[Any]:
        self.asked.append(len(shots))
        if len(shots) > self._most:
            raise RuntimeError("too much\nat once")
        light = [float(np.mean([frame.image.mean() for frame in shot])) for shot in shots]
        read = [
            Reading(feeling(value), f"light {value:.0f}") if value else Unread(("scene: nothing said",))
            for value in light
        ]
        if self._face:
            return [FaceReading(one if isinstance(one, Reading) else None, TRACK, ()) for one in read]
        return read


class Words:
    """Tells how many letters a line and its captions have."""

    space = SPACE

    def __init__(self) -> None:
        self.asked: list[int] = []

    def read(self, line: str, captions: Mapping[str, str]) -> Reading | None:
        return self.read_all([(line, captions)])[0]

    def read_all(self, lines: Sequence[tuple[str, Mapping[str, str]]]) -> list[Reading | None]:
        self.asked.append(len(lines))
        letters = [len(line) + 10 * sum(map(len, captions.values())) for line, captions in lines]
        return [Reading(feeling(count)) if count else None for count in letters]


def feeling(angle: float) -> Emotion:
    return Emotion(SPACE, np.array([np.cos(angle / 99), np.sin(angle / 99)], dtype=np.float32))


def readers(batch: int, most: int = 99) -> Readers:
    made = replace(build_readers("light"), batch=batch, scene=Pictures(most=most), face=Pictures(face=True))
    return replace(made, text=Words())  # type: ignore[arg-type]


def shot(light: int) -> list[Frame]:
    return [Frame(time, np.full((4, 4, 3), light, dtype=np.uint8)) for time in (0.0, 0.5)]


def test_lines_are_read_alike_together_and_alone() -> None:
    shown, texts = [shot(40), [], shot(0), shot(90)], ["one", "two", "", "four"]
    many, single = readers(4), readers(1)
    together = look_at_lines(shown, many, texts)
    alone = [look_at_lines([a], single, [b])[0] for a, b in zip(shown, texts, strict=True)]
    assert many.scene.asked == [3] and single.scene.asked == [1, 1, 1]  # type: ignore[attr-defined]
    for one, other in zip(together, alone, strict=True):
        assert one.emotions.keys() == other.emotions.keys()
        assert all(np.array_equal(one.emotions[m].vector, other.emotions[m].vector) for m in one.emotions)
        assert (one.described is None) == (other.described is None)
    assert [set(one.emotions) for one in together] == [
        {"scene", "face", "text"},
        {"text"},
        set(),
        set(together[0].emotions),
    ]
    assert [one.described is not None for one in together] == [True, False, False, True], "captions alone"
    assert np.array_equal(together[0].emotions["text"].vector, feeling(3 + 10 * 2 * len("light 40")).vector)


def test_preparation_asks_in_batches_and_comes_to_the_same_rows(tiny_cache: Path) -> None:
    cache = Cache(tiny_cache)
    numbers = np.array([i % 3 - 1 for i in range(len(cache.entries))], dtype=np.int8)
    theatre = SimpleNamespace(
        numbers=numbers, direct=lambda i: SimpleNamespace(pictures=lambda count, size: shot(10 * i + 5))
    )
    rows: list[dict[str, bytes]] = []
    for batch in (1, 5):
        asked = readers(batch)
        (tiny_cache / "own_captions.npy").unlink(missing_ok=True)
        prepare_looks(Cache(tiny_cache), asked, theatre, frames=2)  # type: ignore[arg-type]
        names = ("film", "own_scene", "own_face", "own_text", "own_captions")
        rows.append({name: (tiny_cache / f"{name}.npy").read_bytes() for name in names})
        assert max(asked.text.asked) == batch  # type: ignore[attr-defined]
    assert rows[0] == rows[1]
    assert len(asked.text.asked) == 2 * 5, "words, and captions alone, of 24 lines in five goes"  # type: ignore[attr-defined]


def test_why_a_batch_failed_is_logged_before_each_is_read_alone(caplog: pytest.LogCaptureFixture) -> None:
    asked = readers(4, most=1)
    seen = [Seen(tuple(shot(light)), None) for light in (20, 40)]
    with caplog.at_level(logging.WARNING, logger="library_builder.feeling"):
        felt = feel_some_again("scene", seen, ["", ""], [{}, {}], asked)
    assert [one.captions["scene"] for one in felt if not isinstance(one, Exception)] == ["light 20", "light 40"]
    assert asked.scene.asked == [2, 1, 1]  # type: ignore[attr-defined]
    assert caplog.messages == ["scene: 2 stretches together failed (too much at once), each is read alone"]
