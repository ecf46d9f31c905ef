"""Media in and out: times are true, a part equals the same part of the whole, copies are exact, errors are one line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal

from library_builder.cut import CutConfig, cut
from library_builder.media import MediaError, probe, read_frames, read_wave, sample_frames
from library_builder.mux import mux, write_video, write_wave

RATE = 22050
HEIGHT, WIDTH = 48, 64


def grey(number: int) -> np.ndarray:
    """A picture that carries its number in its lightness, five steps apart so that compression cannot confuse two."""
    return np.full((HEIGHT, WIDTH, 3), 5 * (number % 50), dtype=np.uint8)


def number_of(image: np.ndarray) -> int:
    return round(float(image.mean()) / 5)


def tone(seconds: float, hertz: float = 440.0, rate: int = RATE) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def click_at(seconds: float, length: float, rate: int = RATE) -> np.ndarray:
    """Silence with a burst of 20 ms that starts at a time."""
    wave = np.zeros(round(length * rate), dtype=np.float32)
    first = round(seconds * rate)
    wave[first : first + rate // 50] = tone(0.02, 2000, rate)
    return wave


def onset(wave: np.ndarray, rate: int = RATE) -> float:
    return float(np.argmax(np.abs(wave) > 0.15)) / rate


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "film.mp4"
    write_video(path, (grey(i) for i in range(50)), 25, click_at(1.0, 2.0), RATE)
    return path


def repack(source: Path, target: Path) -> Path:
    """The same packets in another container, by the demuxer's own times; the header of an mp4 comes first."""
    options = {"movflags": "faststart"} if target.suffix == ".mp4" else {}
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options) as writer:
        copies = {s.index: writer.add_stream_from_template(s) for s in reader.streams}
        for packet in reader.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                writer.mux(packet)
    return target


def test_wave_round_trip_is_within_half_a_step(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-1, 1 - 1 / 32768, 5000).astype(np.float32)
    write_wave(tmp_path / "a.wav", wave, 16000)
    rate, stored = scipy.io.wavfile.read(tmp_path / "a.wav")
    assert (rate, stored.dtype) == (16000, np.int16)
    assert np.abs(stored / 32768 - wave).max() <= 0.5 / 32768 + 1e-9
    assert np.array_equal(read_wave(tmp_path / "a.wav", sample_rate=16000), (stored / 32768).astype(np.float32))


def test_wave_beyond_full_scale_is_clipped_and_nan_refused(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", np.array([2.0, -2.0, 0.0], dtype=np.float32), 8000)
    assert scipy.io.wavfile.read(tmp_path / "a.wav")[1].tolist() == [32767, -32768, 0]
    with pytest.raises(ValueError, match="finite"):
        write_wave(tmp_path / "b.wav", np.array([np.nan], dtype=np.float32), 8000)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_channels_are_averaged_in_every_sample_format(tmp_path: Path, dtype: type) -> None:
    left, right = tone(0.5), -0.5 * tone(0.5, 300)
    stereo = np.stack([left, right], axis=1)
    if dtype is np.uint8:
        stored = np.rint(stereo * 127 + 128).astype(dtype)
    else:
        stored = (stereo * (1 if dtype is np.float32 else np.iinfo(dtype).max)).astype(dtype)
    scipy.io.wavfile.write(tmp_path / "s.wav", RATE, stored)
    # Eight bits step by 1/128; the wider formats are limited by float32 itself or by 16 bits.
    tolerance = 1 / 100 if dtype is np.uint8 else 1e-4
    assert np.abs(read_wave(tmp_path / "s.wav", sample_rate=RATE) - (left + right) / 2).max() < tolerance


@pytest.mark.parametrize(("native", "wanted"), [(44100, 16000), (8000, 22050), (48000, 8000), (11025, 96000)])
def test_resampling_keeps_a_tone_and_its_phase(tmp_path: Path, native: int, wanted: int) -> None:
    write_wave(tmp_path / "t.wav", tone(1.0, 440, native), native)
    got = read_wave(tmp_path / "t.wav", sample_rate=wanted)
    assert len(got) == wanted
    # The edges ring, as any filter does at a jump; 16 bits leave 1.5e-5 and the filter's band 1e-3.
    edge = wanted // 20
    assert np.abs(got - tone(1.0, 440, wanted))[edge:-edge].max() < 1e-3


def test_what_a_lower_rate_cannot_hold_is_removed(tmp_path: Path) -> None:
    write_wave(tmp_path / "t.wav", tone(1.0, 6000, 22050), 22050)
    assert np.abs(read_wave(tmp_path / "t.wav", sample_rate=8000))[400:-400].max() < 1e-3


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".opus", ".mp3", ".m4a"])
@pytest.mark.parametrize("wanted", [16000, 22050])
def test_a_part_of_a_wave_equals_that_part_of_the_whole(tmp_path: Path, suffix: str, wanted: int) -> None:
    path = tmp_path / f"x{suffix}"
    codec = {".wav": "pcm_s16le", ".flac": "flac", ".opus": "libopus", ".mp3": "libmp3lame", ".m4a": "aac"}[suffix]
    sweep = scipy.signal.chirp(np.arange(3 * 48000) / 48000, 200, 3, 2000).astype(np.float32) * 0.5
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sweep[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        fit = av.AudioResampler(stream.format, "mono", 48000, stream.codec_context.frame_size or 1024)
        for piece in [*fit.resample(frame), *fit.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    whole = read_wave(path, sample_rate=wanted)
    part = read_wave(path, sample_rate=wanted, start=1.2345, end=2.3456)
    first = round(1.2345 * wanted)
    assert len(part) == round(2.3456 * wanted) - first
    # Overlapped codecs restart from another state, which 0.5 s of lead-in brings below audibility.
    assert np.abs(part - whole[first : first + len(part)]).max() < 1e-3
    late = read_wave(path, sample_rate=wanted, start=2.5, end=9.0)
    assert len(late) == len(whole) - round(2.5 * wanted)


def test_probe_tells_what_was_written(film: Path, tmp_path: Path) -> None:
    info = probe(film)
    assert (info.width, info.height, info.fps, info.frames) == (WIDTH, HEIGHT, 25.0, 50)
    assert (info.has_video, info.has_audio, info.sample_rate, info.channels) == (True, True, RATE, 1)
    assert info.duration == pytest.approx(2.0, abs=1e-3)
    write_wave(tmp_path / "a.wav", np.stack([tone(0.5)] * 2, axis=1), RATE)
    sound = probe(tmp_path / "a.wav")
    assert (sound.has_video, sound.fps, sound.frames, sound.channels, sound.duration) == (False, None, None, 2, 0.5)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_pictures_and_sound_keep_their_times(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_video(path, (grey(i) for i in range(50)), 25, click_at(1.0, 2.0), RATE)
    frames = list(read_frames(path))
    assert [number_of(frame.image) for frame in frames] == list(range(50))
    assert np.allclose([frame.time for frame in frames], np.arange(50) / 25, atol=1e-3)
    # One AAC window may smear an onset a little forward; ten samples are half a millisecond.
    assert onset(read_wave(path, sample_rate=RATE)) == pytest.approx(1.0, abs=5e-4)
    assert onset(read_wave(path, sample_rate=RATE, start=0.7)) == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("first", [0, 1, 12, 25, 45])
def test_seeking_gives_the_pictures_of_the_span_and_no_other(film: Path, first: int) -> None:
    frames = read_frames(film, start=first / 25, end=(first + 5) / 25)
    assert [number_of(frame.image) for frame in frames] == list(range(first, first + 5))


def test_transport_stream_counts_time_from_its_own_start(film: Path, tmp_path: Path) -> None:
    path = repack(film, tmp_path / "x.ts")
    frames = list(read_frames(path))
    sound = onset(read_wave(path, sample_rate=RATE))
    shown = next(frame.time for frame in frames if number_of(frame.image) == 25)
    # Picture 25 and the click belong together, wherever the container lets both begin.
    assert sound == pytest.approx(shown, abs=2e-3)
    late = [number_of(frame.image) for frame in read_frames(path, start=frames[40].time)]
    assert late == list(range(40, 50))


def test_containers_without_display_times_still_show_pictures_in_order(tmp_path: Path) -> None:
    write_video(tmp_path / "x.avi", (grey(i) for i in range(50)), 25)  # AVI keeps the order of decoding alone
    frames = list(read_frames(tmp_path / "x.avi"))
    assert [number_of(frame.image) for frame in frames] == list(range(50))
    assert np.allclose(np.diff([frame.time for frame in frames]), 1 / 25, atol=1e-3)


def test_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    times = [0, 40, 80, 400, 440, 1000, 1500]
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(grey(number), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames = list(read_frames(tmp_path / "v.mp4"))
    assert [round(frame.time * 1000) for frame in frames] == times
    assert [number_of(frame.image) for frame in frames] == list(range(len(times)))
    sampled = sample_frames(tmp_path / "v.mp4", start=0, end=1.6, count=4)
    # The middles are 0.2, 0.6, 1.0 and 1.4 s, when pictures 2, 4 and, twice, 5 are on show.
    assert [number_of(frame.image) for frame in sampled] == [2, 4, 5]


def test_colours_survive_and_tall_pictures_are_shrunk(tmp_path: Path) -> None:
    image = np.zeros((96, 128, 3), dtype=np.uint8)
    image[:, :64], image[:, 64:] = (200, 60, 40), (30, 90, 220)
    write_video(tmp_path / "c.mp4", [image] * 5, 24000 / 1001)
    whole = next(read_frames(tmp_path / "c.mp4")).image
    small = next(read_frames(tmp_path / "c.mp4", max_height=48)).image
    assert (whole.shape, small.shape) == ((96, 128, 3), (48, 64, 3))
    for got in (whole[48, 32], small[24, 16]):
        assert np.abs(got.astype(int) - (200, 60, 40)).max() <= 6  # chroma is stored at quarter size, in 8 bits
    assert np.abs(whole[48, 96].astype(int) - (30, 90, 220)).max() <= 6
    assert probe(tmp_path / "c.mp4").fps == pytest.approx(24000 / 1001, rel=1e-9)


def test_rotation_metadata_is_ignored_and_copied(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "r.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.set_display_rotation(90)
        for number in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(number), format="rgb24")))
        container.mux(stream.encode(None))
    assert next(read_frames(tmp_path / "r.mp4")).image.shape == (HEIGHT, WIDTH, 3)
    mux(tmp_path / "r.mp4", tone(0.2), RATE, tmp_path / "m.mp4")
    with av.open(str(tmp_path / "m.mp4")) as copy:
        assert next(copy.decode(video=0)).rotation == 90


def test_sampling_is_even_and_takes_every_picture_of_a_short_span(film: Path) -> None:
    twelve = sample_frames(film, start=0.0, end=2.0, count=12)
    assert len(twelve) == 12
    steps = np.diff([frame.time for frame in twelve])
    assert steps.min() >= 2 / 12 - 0.04 - 1e-6 and steps.max() <= 2 / 12 + 0.04 + 1e-6
    few = sample_frames(film, start=0.4, end=0.8, count=12)
    assert [number_of(frame.image) for frame in few] == list(range(10, 20))
    assert len(sample_frames(film, start=0.4, end=0.44, count=12)) == 1


def packets(path: Path) -> list[tuple[str, float]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (hashlib.sha256(bytes(packet)).hexdigest(), float(packet.pts * packet.time_base))
            for packet in container.demux(stream)
            if packet.pts is not None and packet.time_base is not None
        ]


@pytest.mark.parametrize("source_suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("target_suffix", [".mp4", ".mkv"])
def test_mux_copies_the_picture_bit_for_bit(tmp_path: Path, source_suffix: str, target_suffix: str) -> None:
    source, out = tmp_path / f"a{source_suffix}", tmp_path / f"b{target_suffix}"
    write_video(source, (grey(i) for i in range(50)), 25, tone(2.0), RATE)
    mux(source, click_at(0.5, 2.0), RATE, out)
    before, after = packets(source), packets(out)
    assert [digest for digest, _ in before] == [digest for digest, _ in after]
    assert np.allclose([time for _, time in before], [time for _, time in after], atol=1e-3)
    assert onset(read_wave(out, sample_rate=RATE)) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("seconds", [0.0, 0.7, 2.0, 3.5])
@pytest.mark.parametrize("channels", [1, 2])
def test_muxed_sound_is_as_long_as_the_picture(film: Path, tmp_path: Path, seconds: float, channels: int) -> None:
    wave = np.stack([tone(seconds)] * channels, axis=1)
    mux(film, wave, RATE, tmp_path / "m.mp4")
    info = probe(tmp_path / "m.mp4")
    assert (info.channels, info.frames) == (channels, 50)
    got = read_wave(tmp_path / "m.mp4", sample_rate=RATE)
    assert len(got) == 2 * RATE
    quiet = round(seconds * RATE) + RATE // 10
    assert quiet >= len(got) or np.abs(got[quiet:]).max() < 1e-3


def test_mux_onto_itself_and_at_a_rate_aac_lacks(film: Path, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(film.read_bytes())
    mux(path, click_at(1.5, 2.0, 20000), 20000, path)
    assert onset(read_wave(path, sample_rate=RATE)) == pytest.approx(1.5, abs=1e-3)
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def broken(tmp_path: Path, film: Path) -> dict[str, Path]:
    whole = film.read_bytes()
    files = {"text": b"not media at all" * 50, "headless": whole[: len(whole) // 2], "empty": b""}
    for name, data in files.items():
        (tmp_path / f"{name}.mp4").write_bytes(data)
    return {name: tmp_path / f"{name}.mp4" for name in files}


def calls() -> Iterator[Callable[[Path], object]]:
    yield probe
    yield lambda path: read_wave(path, sample_rate=16000)
    yield lambda path: list(read_frames(path))
    yield lambda path: mux(path, tone(1.0), RATE, path.with_name("out.mp4"))


@pytest.mark.parametrize("call", calls())
def test_broken_files_are_refused_in_one_line_that_names_them(
    film: Path, tmp_path: Path, call: Callable[[Path], object]
) -> None:
    for path in broken(tmp_path, film).values():
        with pytest.raises(MediaError, match=path.name) as caught:
            call(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
        call(tmp_path / "none.mp4")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_cut_short_after_its_header_is_found_out(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (75, HEIGHT, WIDTH, 3), dtype=np.uint8)
    write_video(tmp_path / "plain.mp4", noise, 25, tone(3.0), RATE)
    path = repack(tmp_path / "plain.mp4", tmp_path / f"cut{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"truncated|cut short"):
        list(read_frames(path))
    with pytest.raises(MediaError, match=r"truncated|cut short"):
        read_wave(path, sample_rate=16000)
    # What lies before the break is good, and stays usable.
    assert len(list(read_frames(path, start=0.2, end=0.4))) == 5


def test_missing_streams_are_named(film: Path, tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", tone(0.5), RATE)
    write_video(tmp_path / "mute.mp4", [grey(0)] * 5, 25)
    with pytest.raises(MediaError, match="no video stream"):
        list(read_frames(tmp_path / "a.wav"))
    with pytest.raises(MediaError, match="no audio stream"):
        read_wave(tmp_path / "mute.mp4", sample_rate=16000)
    with pytest.raises(MediaError, match="no video stream"):
        mux(tmp_path / "a.wav", tone(0.5), RATE, tmp_path / "out.mp4")


def test_bad_requests_are_refused_and_leave_nothing_behind(film: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample rate"):
        read_wave(film, sample_rate=4000)
    for start, end in ((1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="start < end"):
            read_frames(film, start=start, end=end)
    with pytest.raises(ValueError, match="even"):
        write_video(tmp_path / "odd.mp4", [np.zeros((47, 64, 3), dtype=np.uint8)], 25)
    with pytest.raises(ValueError, match="at least one picture"):
        write_video(tmp_path / "none.mp4", [], 25)
    with pytest.raises(ValueError, match="picture 1"):
        write_video(tmp_path / "sizes.mp4", [grey(0), np.zeros((48, 48, 3), dtype=np.uint8)], 25)
    with pytest.raises(MediaError, match="suffix"):
        write_video(tmp_path / "x.xyz", [grey(0)], 25)
    with pytest.raises(MediaError, match="cannot hold"):
        write_video(tmp_path / "x.webm", [grey(0)], 25)
    assert list(tmp_path.iterdir()) == []


def scene(colour: tuple[int, int, int], count: int, seed: int) -> Iterator[np.ndarray]:
    """A bright square wandering over a coloured ground: motion, and no cut."""
    x = np.random.default_rng(seed).integers(4, 20)
    for number in range(count):
        image = np.full((HEIGHT, WIDTH, 3), colour, dtype=np.uint8)
        image[10:20, (x + number) % 50 : (x + number) % 50 + 10] = (240, 240, 200)
        yield image


def test_footage_is_cut_at_shots_and_pauses(tmp_path: Path) -> None:
    colours = [(180, 60, 40), (40, 80, 170), (60, 130, 50)]
    frames = [image for i, colour in enumerate(colours) for image in scene(colour, 75, i)]
    voice = tone(9.0) * np.repeat([1, 1, 1, 0, 1, 1], round(1.5 * RATE))[: 9 * RATE]
    voice[round(1.4 * RATE) : round(1.9 * RATE)] = 0
    write_video(tmp_path / "f.mp4", frames, 25, voice, RATE)
    config = CutConfig(min_seconds=1.0, max_seconds=5.0)
    bounds = [bound for span in cut(tmp_path / "f.mp4", config) for bound in span]
    # Shots change at 3 and 6 s; pauses are centred on 1.65 s and on 5.25 s, too near the shot's end to leave a second.
    assert np.allclose(bounds, [0, 1.65, 1.65, 3, 3, 6, 6, 9], atol=0.1)


@pytest.mark.parametrize("longest", [2.0, 2.5, 4.0])
def test_stretches_are_ordered_disjoint_and_of_allowed_length(tmp_path: Path, longest: float) -> None:
    frames = [*scene((90, 20, 120), 130, 5), *scene((20, 160, 90), 15, 6), *scene((200, 180, 40), 80, 7)]
    noise = np.random.default_rng(2).normal(0, 0.1, 9 * RATE).astype(np.float32)
    write_video(tmp_path / "f.mp4", frames, 25, noise, RATE)
    spans = cut(tmp_path / "f.mp4", CutConfig(min_seconds=1.0, max_seconds=longest))
    assert all(1.0 - 1e-6 <= end - start <= longest + 1e-6 for start, end in spans)
    assert all(before[1] <= after[0] + 1e-9 for before, after in pairwise(spans))
    # The shot of 0.6 s is too short for a stretch; everything else is covered.
    assert sum(end - start for start, end in spans) == pytest.approx(9.0 - 0.6, abs=0.02)


def test_footage_without_sound_is_cut_by_its_pictures(tmp_path: Path) -> None:
    write_video(tmp_path / "f.mp4", [*scene((90, 20, 120), 50, 5), *scene((20, 160, 90), 50, 6)], 25)
    assert np.allclose(cut(tmp_path / "f.mp4"), [(0, 2), (2, 4)], atol=1e-3)
