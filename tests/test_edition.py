"""Subtitles made for a print at another frame rate: found by the sound, told in a line, their film left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from authentic_dubber.footage_job import BuildJob, Sheets
from library_builder.cues import CueError
from library_builder.edition import TELLING
from library_builder.mux import write_video

RATE = 8_000
LINES, SPACING = 36, 3.0


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that hums for a second and a bit at uneven times, over noise."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    time = np.arange(round(LINES * SPACING * RATE)) / RATE
    rng = np.random.default_rng(4)
    wave = 0.02 * rng.standard_normal(len(time))
    for start, end in spans():
        wave += 0.3 * np.sin(2 * np.pi * 180 * time) * ((time >= start) & (time < end))
    pictures = [np.full((16, 16, 3), n % 200, dtype=np.uint8) for n in range(round(LINES * SPACING * 2))]
    write_video(path, pictures, 2, wave.astype(np.float32), RATE)
    return path


def spans(ratio: float = 1.0) -> list[tuple[float, float]]:
    rng = np.random.default_rng(3)
    starts = SPACING * np.arange(LINES) + rng.uniform(0.1, 1.2, LINES)
    return [
        (float(start) * ratio, float(start + long) * ratio)
        for start, long in zip(starts, rng.uniform(0.9, 1.5, LINES), strict=True)
    ]


def subtitles(film: Path, ratio: float, count: int = LINES) -> Path:
    def clock(seconds: float) -> str:
        milliseconds = round(1000 * seconds)
        minutes, rest = divmod(milliseconds, 60_000)
        return f"00:{minutes:02d}:{rest // 1000:02d},{rest % 1000:03d}"

    rows = [f"{n}\n{clock(a)} --> {clock(b)}\nLine {n}.\n" for n, (a, b) in enumerate(spans(ratio)[:count], start=1)]
    path = film.with_suffix(".srt")
    path.write_text("\n".join(rows))
    return path


@pytest.mark.parametrize("ratio", [25 / 24, 24 / 25])
def test_subtitles_of_another_print_are_told_and_the_right_ones_read(film: Path, ratio: float) -> None:
    subtitles(film, 1.0)
    cues = Sheets(BuildJob(film.parent, (film,)), [film]).of(film)
    assert cues is not None and len(cues) == LINES
    subtitles(film, ratio)
    with pytest.raises(CueError, match=r"got such as a print at .* stretch them") as told:
        Sheets(BuildJob(film.parent, (film,)), [film]).of(film)
    assert "\n" not in str(told.value)


def test_too_few_subtitles_to_tell_are_taken_as_they_are(film: Path) -> None:
    subtitles(film, 25 / 24, TELLING - 1)
    cues = Sheets(BuildJob(film.parent, (film,)), [film]).of(film)
    assert cues is not None and len(cues) == TELLING - 1
