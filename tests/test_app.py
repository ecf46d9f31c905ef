"""A dubbing session from script to report: what is refused, what is made, and how it goes on after a stop."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from authentic_dubber import mix as mixing
from authentic_dubber.commands.say import exit_code
from authentic_dubber.exits import PARTIAL
from authentic_dubber.plan import DubJob
from authentic_dubber.session import run
from authentic_dubber.speaker import BadPrompt
from authentic_dubber.takes import TakesError, read_book, wave_name
from authentic_dubber.text import UnspeakableText
from authentic_dubber.types import Acting, Line, Slot, Take, Timing, Voice
from library_builder.media import probe, read_wave
from library_builder.mux import write_video, write_wave
from library_builder.types import Clip, Emotion
from retrieval.library import Library, SpaceMismatch, commit
from vocoder import MelConfig

RATE = 16_000
SPACES = {"scene": "tiny/4", "face": "tiny/4", "text": "tiny/4", "audio": "tiny/4"}
LICENCE = "made for a test"


def tone(seconds: float, level: float = -20.0, rate: int = RATE, hertz: float = 220.0) -> np.ndarray:
    """A sine of a root-mean-square level in dBFS."""
    time = np.arange(round(seconds * rate)) / rate
    return (np.sqrt(2) * 10 ** (level / 20) * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def rms_db(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-20))


@dataclass(frozen=True)
class Ready:
    """What the session reads of a prepared line."""

    line: Line
    voice: Voice
    slot: Slot
    hits: dict[str, tuple[Any, ...]]
    seed: int
    fingerprint: str


class ToneDubber:
    """Follows the dubber's protocol: every line becomes a tone as long as its slot. Counts what it speaks."""

    licences, checkpoint, notice = (LICENCE,), "0123abcd", "tones may be used by anyone"
    mel_config = MelConfig()

    def __init__(self, spaces: dict[str, str] | None = None, interrupt_at: int | None = None) -> None:
        self.spaces = spaces or SPACES
        self.spoken: list[str] = []
        self.interrupt_at = interrupt_at

    def voice(self, name: str, prompt: Path) -> Voice:
        wave = read_wave(prompt, sample_rate=RATE)
        if len(wave) < RATE / 2 or not wave.any():
            raise BadPrompt(f"expected half a second of voice, got {len(wave) / RATE:.2f} s, peak {np.abs(wave).max()}")
        mel, speaker = np.zeros((80, 4), dtype=np.float32), np.ones(4, dtype=np.float32) / 2
        return Voice(name, mel, speaker, hashlib.sha256(wave.tobytes()).hexdigest())

    def prepare(
        self,
        line: Line,
        voice: Voice,
        *,
        library: Library | None,
        k: int = 3,
        seed: int = 0,
        acting: Acting | None = None,
    ) -> Ready:
        if not any(letter.isalpha() for letter in line.text):
            raise UnspeakableText(f"line {line.id}: expected something to speak, got {line.text!r}")
        slot = Slot(line.start + 0.1, line.end - 0.1, "mouth")
        query = {m: Emotion("tiny/4", np.eye(4, dtype=np.float32)[0]) for m in ("scene", "text")}
        hits = dict(library.top_k(query, k).hits) if library is not None and k else {}  # type: ignore[arg-type]
        parts = [line.text, slot.start, slot.end, voice.prompt, seed, library.version if library else None]
        return Ready(line, voice, slot, hits, seed, hashlib.sha256(json.dumps(parts).encode()).hexdigest())

    def speak(self, prepared: Sequence[Ready]) -> list[Take]:
        if self.interrupt_at is not None and len(self.spoken) + len(prepared) > self.interrupt_at:
            raise KeyboardInterrupt
        self.spoken += [p.line.id for p in prepared]
        return [self._take(p) for p in prepared]

    def _take(self, p: Ready) -> Take:
        rate = self.mel_config.sample_rate
        seconds = p.slot.duration
        frames = self.mel_config.frames(seconds)
        mel = np.linspace(-9, 0, 80 * frames, dtype=np.float32).reshape(80, frames)
        lips = tuple((p.slot.start + i / 25, abs(float(np.sin(i)))) for i in range(round(seconds * 25)))
        timing = Timing(("h", "aɪ"), (seconds / 3, seconds), 1.1, 1.1 * seconds)
        return Take(
            line=p.line,
            slot=p.slot,
            wave=tone(seconds, -30, rate),
            sample_rate=rate,
            mel=mel,
            timing=timing,
            hits=p.hits,  # type: ignore[arg-type]
            captions={"scene": "a <dark> still shot"},
            lips=lips,
            emotion={"happy": 0.75, "sad": 0.25},
            own=("scene", "text"),
            seed=p.seed,
            provenance={},
        )


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A silent and a sounding film of four seconds, two prompts, a script, and a library of two clips."""
    folder = tmp_path_factory.mktemp("studio")
    frames = [np.full((48, 64, 3), 40 + i, dtype=np.uint8) for i in range(100)]
    write_video(folder / "silent.mp4", frames, 25)
    write_video(folder / "loud.mp4", frames, 25, tone(4), RATE)
    intro = np.concatenate([tone(0.4), np.zeros(round(3.6 * RATE), dtype=np.float32)])
    write_video(folder / "intro.mp4", frames, 25, intro, RATE)
    for name, hertz in (("ada", 200.0), ("bo", 120.0)):
        write_wave(folder / f"{name}.wav", tone(1, hertz=hertz), RATE)
    write_cues(folder / "script.csv", "0.5,1.5,Ada,Hello <b>you</b> & me", "2.0,3.5,Bo,Good evening")
    clips = [
        Clip(
            id=f"film/ada/{i}",
            media="silent.mp4",
            start=i,
            end=i + 1,
            speaker="Ada",
            text=f"clip <{i}>",
            film="film",
            captions={"scene": "bright & still"},
            emotions={m: Emotion("tiny/4", np.eye(4, dtype=np.float32)[i]) for m in ("scene", "text", "audio")},
            label="happy",
            licence="free footage",
        )
        for i in range(2)
    ]
    commit(folder / "library", clips, source={"footage": str(folder)})
    return folder


def write_cues(path: Path, *rows: str) -> Path:
    path.write_text("start,end,character,text\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def job(studio: Path, out: Path, **changes: Any) -> DubJob:
    voices = {"Ada": studio / "ada.wav", "Bo": studio / "bo.wav"}
    usual = DubJob(studio / "silent.mp4", studio / "script.csv", voices, studio / "library", out, rate=RATE, k=2)
    return replace(usual, **changes)


# --- sessions ---


def test_a_session_leaves_takes_film_mix_book_and_report(studio: Path, tmp_path: Path) -> None:
    result = run(job(studio, tmp_path / "out"), ToneDubber())
    assert result.complete and exit_code(result) == 0 and result.video is not None
    for record, start, end in zip(result.lines, (0.6, 2.1), (1.4, 3.4), strict=True):
        wave = read_wave(tmp_path / "out" / record.file, sample_rate=RATE)
        assert len(wave) / RATE == pytest.approx(end - start, abs=0.001)
        assert rms_db(wave) == pytest.approx(mixing.LINE_LEVEL, abs=0.1)
        assert record.slot == pytest.approx((start, end))
        # Speech is found in frames of 20 ms.
        assert record.speech == pytest.approx((start, end), abs=0.03)
    assert [record.file for record in result.lines] == ["001_Ada.wav", "002_Bo.wav"]
    film = probe(result.video)
    assert film.has_video and film.has_audio and film.frames == 100
    book = read_book(tmp_path / "out")
    assert book.lines == result.lines
    assert book.job["versions"]["checkpoint"] == ToneDubber.checkpoint
    hits = book.lines[0].hits["scene"]
    assert [hit["id"] for hit in hits] == ["film/ada/0", "film/ada/1"]
    assert [hit["score"] for hit in hits] == pytest.approx([1, 0])
    assert set(book.lines[0].licences) == {LICENCE, "free footage"}


def test_the_dubbed_film_sounds_where_the_slots_are_and_nowhere_else(studio: Path, tmp_path: Path) -> None:
    result = run(job(studio, tmp_path / "out"), ToneDubber())
    assert result.video is not None
    wave = read_wave(result.video, sample_rate=RATE)
    seconds = [wave[round(a * RATE) : round(b * RATE)] for a, b in ((0.7, 1.3), (2.2, 3.3), (0.1, 0.5), (1.6, 2.0))]
    assert all(rms_db(part) > -26 for part in seconds[:2])
    assert all(rms_db(part) < -55 for part in seconds[2:])


def test_a_second_run_speaks_nothing_again(studio: Path, tmp_path: Path) -> None:
    run(job(studio, tmp_path / "out"), ToneDubber())
    again = ToneDubber()
    result = run(job(studio, tmp_path / "out"), again)
    assert again.spoken == [] and result.kept == ("001", "002") and result.complete


@pytest.mark.parametrize("spoil", ["wave", "gone", "seed", "rate", "text"])
def test_whatever_changed_is_spoken_again_and_nothing_else(spoil: str, studio: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = tmp_path / "script.csv"
    script.write_text((studio / "script.csv").read_text(encoding="utf-8"), encoding="utf-8")
    run(job(studio, out, script=script), ToneDubber())
    changes: dict[str, Any] = {}
    expected = ["001"]
    match spoil:
        case "wave":  # the same size, other samples
            data = bytearray((out / "001_Ada.wav").read_bytes())
            data[-1] ^= 1
            (out / "001_Ada.wav").write_bytes(bytes(data))
        case "gone":
            (out / "001_Ada.wav").unlink()
        case "seed":
            changes, expected = {"seed": 1}, ["001", "002"]
        case "rate":
            changes, expected = {"rate": 8000}, ["001", "002"]
        case "text":
            write_cues(script, "0.5,1.5,Ada,Something else", "2.0,3.5,Bo,Good evening")
    again = ToneDubber()
    run(job(studio, out, script=script, **changes), again)
    assert again.spoken == expected


def test_an_interrupted_job_goes_on_where_it_stopped(studio: Path, tmp_path: Path) -> None:
    script = write_cues(tmp_path / "long.csv", *(f"{i / 4:.2f},{i / 4 + 0.24:.2f},Ada,line {i}" for i in range(12)))
    with pytest.raises(KeyboardInterrupt):
        run(job(studio, tmp_path / "out", script=script), ToneDubber(interrupt_at=9))
    saved = read_book(tmp_path / "out").lines
    assert [record.id for record in saved] == [f"{i:03d}" for i in range(1, 10)]
    again = ToneDubber()
    result = run(job(studio, tmp_path / "out", script=script), again)
    assert again.spoken == ["010", "011", "012"] and result.complete


def test_half_written_waves_of_a_killed_run_are_swept_away(studio: Path, tmp_path: Path) -> None:
    script = write_cues(tmp_path / "s.csv", "0.5,1.5,Ada,Hello")
    out = tmp_path / "out"
    out.mkdir()
    left, other = out / ".001_Ada-0b7f4a60.wav", out / ".mine.wav"
    left.write_bytes(b"RIFF")
    other.write_bytes(b"RIFF")
    assert run(job(studio, out, script=script), ToneDubber()).complete
    assert not left.exists() and other.exists()


def test_bad_lines_are_set_aside_and_the_job_goes_on(studio: Path, tmp_path: Path) -> None:
    script = write_cues(tmp_path / "s.csv", "0.5,1.5,Ada,Hello", "1.6,1.9,Ada,", "2,2.5,Bo,***", "4.5,5,Bo,Too late")
    result = run(job(studio, tmp_path / "out", script=script), ToneDubber())
    assert [record.status for record in result.lines] == ["ok", "skipped", "skipped", "skipped"]
    assert ["no text" in result.lines[1].reason, "***" in result.lines[2].reason, "past" in result.lines[3].reason] == [
        True
    ] * 3
    assert exit_code(result) == PARTIAL and not result.problems
    page = result.report.read_text(encoding="utf-8")
    assert all(f'id="line-{record.id}"' in page for record in result.lines)


def test_a_row_that_cannot_be_read_makes_the_job_partial(studio: Path, tmp_path: Path) -> None:
    script = write_cues(tmp_path / "s.csv", "0.5,1.5,Ada,Hello", "soon,later,Ada,Hm")
    result = run(job(studio, tmp_path / "out", script=script), ToneDubber())
    assert len(result.spoken) == len(result.lines) == 1 and exit_code(result) == PARTIAL
    assert any("line 3" in note for note in result.notes)


def test_a_library_smaller_than_k_is_noted(studio: Path, tmp_path: Path) -> None:
    result = run(job(studio, tmp_path / "out", k=5), ToneDubber())
    assert any("2 clips" in note and "5" in note for note in result.notes)


def test_k_zero_needs_no_library(studio: Path, tmp_path: Path) -> None:
    result = run(job(studio, tmp_path / "out", k=0, library=None), ToneDubber())
    assert result.complete and all(not record.hits for record in result.lines)


def refusal(studio: Path, tmp_path: Path, dubber: ToneDubber | None = None, **changes: Any) -> str:
    out = tmp_path / "refused"
    dubber = dubber or ToneDubber()
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        run(job(studio, out, **changes), dubber)  # type: ignore[arg-type]
    assert not out.exists() and dubber.spoken == [], "nothing may be written before the job is accepted"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_refused_before_work(studio: Path, tmp_path: Path) -> None:
    quiet, short, broken = tmp_path / "quiet.wav", tmp_path / "short.wav", tmp_path / "broken.mp4"
    write_wave(quiet, np.zeros(RATE, dtype=np.float32), RATE)
    write_wave(short, tone(0.3), RATE)
    broken.write_bytes(b"no film")
    prompts = {"Ada": studio / "ada.wav"}
    strange = write_cues(tmp_path / "strange.csv", "0.5,1.5,Cy,Hello")
    double = write_cues(tmp_path / "double.csv", "0.5,1.5,Ada,One", "2,3,Bo,Two", "1.25,1.9,ada,Three")
    assert "broken.mp4" in refusal(studio, tmp_path, video=broken)
    assert "pictures" in refusal(studio, tmp_path, video=studio / "ada.wav")
    assert "nowhere.mp4" in refusal(studio, tmp_path, video=tmp_path / "nowhere.mp4")
    for prompt, fault in ((quiet, "peak 0.0"), (short, "0.30 s")):
        message = refusal(studio, tmp_path, voices={**prompts, "Bo": prompt})
        assert fault in message and "Bo" in message and prompt.name in message
    assert "'Bo'" in refusal(studio, tmp_path, voices=prompts)
    assert "'Cy'" in refusal(studio, tmp_path, script=strange)
    message = refusal(studio, tmp_path, script=double)
    assert all(part in message for part in ("line 001 (0.50 to 1.50 s)", "line 003 (1.25 to 1.90 s)", "Ada"))
    assert "-1" in refusal(studio, tmp_path, k=-1)
    assert "--library" in refusal(studio, tmp_path, library=None)
    assert "tiny/4" in refusal(studio, tmp_path, ToneDubber(spaces=SPACES | {"text": "other/4"}))
    assert "no sound" in refusal(studio, tmp_path, bed="keep")
    assert "nowhere.wav" in refusal(studio, tmp_path, bed=str(tmp_path / "nowhere.wav"))


def test_refusals_are_the_typed_errors(studio: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.wav"
    write_wave(short, tone(0.3), RATE)
    with pytest.raises(BadPrompt):
        run(job(studio, tmp_path / "out", voices={"Ada": short, "Bo": short}), ToneDubber())  # type: ignore[arg-type]
    with pytest.raises(SpaceMismatch):
        run(job(studio, tmp_path / "out"), ToneDubber(spaces={"text": "other/4"}))  # type: ignore[arg-type]


def test_a_films_own_sound_is_never_dropped_without_a_word(studio: Path, tmp_path: Path) -> None:
    message = refusal(studio, tmp_path, video=studio / "loud.mp4")
    assert all(choice in message for choice in ("keep", "duck", "none", "FILE", "line 001"))
    # Sound that lies under no line is not in anybody's way, and stays.
    result = run(job(studio, tmp_path / "out", video=studio / "intro.mp4"), ToneDubber())
    wave = read_wave(tmp_path / "out" / "mix.wav", sample_rate=RATE)
    assert result.complete and rms_db(wave[: round(0.3 * RATE)]) == pytest.approx(-20, abs=1)


def test_a_foreign_book_of_takes_is_refused_and_left_alone(studio: Path, tmp_path: Path) -> None:
    for text in ('{"schema": 99}', "no json", '{"schema": 1, "lines": [{}], "job": {}, "notes": []}'):
        (tmp_path / "takes.json").write_text(text, encoding="utf-8")
        with pytest.raises(TakesError):
            run(job(studio, tmp_path), ToneDubber())  # type: ignore[arg-type]
        assert (tmp_path / "takes.json").read_text(encoding="utf-8") == text


def test_names_of_waves_stay_in_their_folder() -> None:
    for character in ("../../etc", "a/b", "C:\\x", "", "Zoë", "."):
        name = wave_name("007", character)
        assert Path(name).name == name and name.startswith("007_") and "\\" not in name and ".." not in name


# --- report ---


def test_the_report_holds_every_line_escaped_and_needs_nothing_from_outside(studio: Path, tmp_path: Path) -> None:
    page = run(job(studio, tmp_path / "out"), ToneDubber()).report.read_text(encoding="utf-8")
    assert "Hello &lt;b&gt;you&lt;/b&gt; &amp; me" in page and "<b>you" not in page
    assert "a &lt;dark&gt; still shot" in page and "clip &lt;0&gt;" in page and "bright &amp; still" in page
    for word in ("Good evening", "001_Ada.wav", "silent_dubbed.mp4", "happy", "free footage", ToneDubber.notice):
        assert word in page
    assert not re.search(r"(?:src|href)=\"(?:https?:|/|file:)", page) and "<script" not in page
    sources = re.findall(r'<(?:audio|video)[^>]* src="([^"]+)"', page)
    assert len(sources) == 3 and all((tmp_path / "out" / source).is_file() for source in sources)


def test_the_reports_stills_show_the_footage(studio: Path, tmp_path: Path) -> None:
    import cv2

    page = run(job(studio, tmp_path / "out"), ToneDubber()).report.read_text(encoding="utf-8")
    stills = re.findall(r'<figure><img[^>]* src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(stills) == 8  # two lines, two modalities, two clips each
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(stills[0]), np.uint8), cv2.IMREAD_COLOR)
    # The first clip's middle lies at half a second: the film's frame 12 is a grey of 52.
    assert picture is not None and picture.mean() == pytest.approx(52, abs=4)


def test_footage_that_moved_away_is_said_and_not_fatal(studio: Path, tmp_path: Path) -> None:
    from authentic_dubber.report import write_report

    run(job(studio, tmp_path / "out"), ToneDubber())
    page = write_report(tmp_path / "out", footage=tmp_path / "moved").read_text(encoding="utf-8")
    assert page.count("footage not at hand") == 8
