"""Makes the demo film: footage with voices and cue sheets, a silent scene to be dubbed, and two voice prompts."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np

from library_builder.atomic import whole_file
from library_builder.mux import write_video, write_wave

from .brush import Picture
from .mouth import mouth_opening
from .puppet import Feeling, Puppet, cast, feeling_controls
from .screenplay import EPISODES, PROMPTS, SCENE, Episode, Line
from .stage import Shot, Stage, render
from .style import FilmStyle
from .voices import LICENCE, Actor, Speaker, Wave

log = logging.getLogger(__name__)

LEAD = 0.32
"""Seconds of shut mouth before a line; with `TAIL`, enough for a mouth's onset and offset to be seen."""
TAIL = 0.28
PROMPT_SECONDS = (4.0, 6.0)


@dataclass(frozen=True, slots=True)
class DemoFilm:
    """Where the demo's files lie.

    Attributes:
        footage: videos with sound; beside each lies its cue sheet, same stem, `.csv`.
        scene: a silent video to be dubbed.
        script: the scene's cue sheet.
        prompts: a voice prompt for each character of the scene.
        licence: of all of it.
    """

    footage: tuple[Path, ...]
    scene: Path
    script: Path
    prompts: Mapping[str, Path]
    licence: str = LICENCE

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", MappingProxyType(dict(self.prompts)))


@dataclass(frozen=True, slots=True)
class _Take:
    """One line on film: its shot, the sound that is exactly as long, and when in the shot the line is heard."""

    line: Line
    shot: Shot
    wave: Wave
    start: float
    end: float


class _Studio:
    """One cast, one style, one seed: turns lines into takes."""

    def __init__(self, stage: Stage, actor: Actor, seed: int, noise: float) -> None:
        self.stage, self.actor, self.seed, self.noise = stage, actor, seed, noise
        self.cast: tuple[Puppet, ...] = cast(seed, 4)

    def take(self, episode: Episode, number: int) -> tuple[_Take, int]:
        """Line `number` of an episode, and the sample rate of its sound."""
        line, puppet = episode.lines[number], self.cast[episode.lines[number].character]
        rng = np.random.default_rng([self.seed, *episode.title.encode(), number])
        intensity = float(rng.uniform(0.8, 1.1))
        spoken = self.actor.perform(puppet, line.text, Feeling(line.label, intensity), noise=self.noise, rng=rng)
        rate, fps = spoken.sample_rate, self.stage.fps
        frames = int(np.ceil((LEAD + spoken.duration + TAIL) * fps))
        wave = np.zeros(round(frames * rate / fps), dtype=np.float32)
        first = round(LEAD * rate)
        wave[first : first + len(spoken.wave)] = spoken.wave
        start, end = spoken.sounding()
        shot = Shot(
            puppet=puppet,
            controls=feeling_controls(line.label, intensity, self.noise, rng),
            opening=mouth_opening(wave, rate, fps),
            place=episode.place,
            seed=int(rng.integers(2**31)),
            set_seed=self.seed,
        )
        return _Take(line, shot, wave, LEAD + start, LEAD + end), rate

    def pictures(self, takes: Sequence[_Take]) -> Iterator[Picture]:
        return chain.from_iterable(render(take.shot, self.stage) for take in takes)

    def film(self, path: Path, episode: Episode, lines: int, *, silent: bool) -> Path:
        """Writes an episode's first lines as a video and its cue sheet; the sheet's path."""
        performed = [self.take(episode, number) for number in range(min(lines, len(episode.lines)))]
        takes = [take for take, _ in performed]
        if silent:
            write_video(path, self.pictures(takes), self.stage.fps)
        else:
            sound = np.concatenate([take.wave for take in takes])
            write_video(path, self.pictures(takes), self.stage.fps, sound, performed[0][1])
        log.info("%s: %d lines", path.name, len(takes))
        # A script's emotions would be asked of its lines, and the silent scene's are for the dubber to find out.
        return _write_cues(path.with_suffix(".csv"), takes, self.cast, self.stage.fps, labelled=not silent)

    def prompt(self, path: Path, character: int, sentences: Sequence[str]) -> Path:
        """Writes a neutral voice prompt: sentences are added, with short pauses, until it is long enough.

        Raises:
            ValueError: the synthesizer speaks so fast or so slowly that no prompt of the wanted length comes out.
        """
        shortest, longest = PROMPT_SECONDS
        pieces: list[Wave] = []
        rate, seconds = 0, 0.0
        for sentence in sentences:
            spoken = self.actor.perform(self.cast[character], sentence, Feeling("neutral"))
            rate = spoken.sample_rate
            pieces += [spoken.wave, np.zeros(round(0.15 * rate), dtype=np.float32)]
            seconds = sum(map(len, pieces)) / rate
            if seconds >= shortest:
                break
        if not shortest <= seconds <= longest:
            raise ValueError(f"{path.name}: expected a prompt of {shortest} to {longest} s, got {seconds:.1f} s")
        write_wave(path, np.concatenate(pieces), rate)
        return path


def make_demo(
    folder: Path,
    *,
    seed: int,
    espeak: Speaker,
    size: tuple[int, int] = (270, 480),
    fps: float = 25.0,
    lines: int = 9,
    noise: float = 0.15,
) -> DemoFilm:
    """Draws and speaks the demo film into a folder, which is made if need be.

    Mouths follow the voices, so the film is alike for a seed as far as the synthesizer is: espeak-ng carries a little
    noise from line to line, and repeats itself exactly only when freshly opened.

    Args:
        seed: chooses cast, film style, sets and acting.
        espeak: the synthesizer, already open.
        size: (H, W) in pixels, both even.
        lines: of each episode at most; fewer make a quicker, smaller film.
        noise: of faces, light and acting, see `feeling_controls`.

    Raises:
        ValueError: lines < 1, or a setting that stage or writer refuses.
    """
    if lines < 1:
        raise ValueError(f"expected at least one line per episode, got {lines}")
    folder = Path(folder)
    for part in ("footage", "scene", "prompts"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    style = FilmStyle.of_film(seed)
    # Grain is what a video encoder spends most of its time and bytes on.
    stage = Stage(size, fps, replace(style, grain=min(style.grain, 1.0)))
    studio = _Studio(stage, Actor(espeak), seed, noise)
    footage = tuple(folder / "footage" / f"{episode.title}.mp4" for episode in EPISODES)
    for path, episode in zip(footage, EPISODES, strict=True):
        studio.film(path, episode, lines, silent=False)
    scene = folder / "scene" / "scene.mp4"
    # The scene's performance moves the mouths and is then thrown away: the dubber must not hear it.
    script = studio.film(scene, SCENE, len(SCENE.lines), silent=True)
    prompts = {}
    for character, sentences in PROMPTS:
        name = studio.cast[character].name
        prompts[name] = studio.prompt(folder / "prompts" / f"{name}.wav", character, sentences)
    _write_text(folder / "LICENCE.txt", LICENCE + "\n")
    return DemoFilm(footage, scene, script, prompts)


def _write_cues(path: Path, takes: Sequence[_Take], players: Sequence[Puppet], fps: float, *, labelled: bool) -> Path:
    """A cue sheet as CSV, times in seconds of the film."""
    sheet = io.StringIO()
    rows = csv.writer(sheet, lineterminator="\n")
    rows.writerow(["start", "end", "character", "text", *(["emotion"] if labelled else [])])
    frames = 0
    for take in takes:
        before = frames / fps
        name = players[take.line.character].name
        label = [take.line.label] if labelled else []
        rows.writerow([f"{before + take.start:.3f}", f"{before + take.end:.3f}", name, take.line.text, *label])
        frames += len(take.shot.opening)
    return _write_text(path, sheet.getvalue())


def _write_text(path: Path, text: str) -> Path:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
