"""Reading footage: what a file holds, its sound as a wave, its pictures with the times they are shown at.

Every time is in seconds from the moment a player starts the file, which is not always zero on the file's own clock.
With `mux`, the only module that knows PyAV.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soxr
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.reformatter import VideoReformatter

from .types import Frame, Hertz, Seconds

Wave = npt.NDArray[np.float32]

MIN_RATE, MAX_RATE = 8_000, 96_000
"""Sample rates a wave can be asked for, in hertz."""

TRUNCATION: Seconds = 0.5
"""A stream that ends this much before the end its header declares has lost its tail; less is a codec's rounding."""

PREROLL: Seconds = 0.5
"""Sound is decoded from this much before it is wanted: after a seek, overlapped codecs need to settle."""

JITTER: Seconds = 0.005
"""Containers that count in milliseconds put frames a little off; only a larger step is a gap in the sound."""

SEEK_BACK: Seconds = 10.0
"""How far before its target a second seek tries: encoders rarely put whole pictures further apart."""

REORDERED = 4
"""Pictures held back to sort their times; codecs reorder two, rarely four."""

PADDING = 2048
"""Samples by which codecs in blocks overshoot the end that the header declares: two blocks of AAC."""

THREADED_PIXELS = 640 * 480
"""Smaller pictures are decoded by one thread: starting more takes a third of the time over again, and gains none."""

SAME_INSTANT: Seconds = 1e-4
"""Times this close are the same frame; containers round to microseconds or 1/90000 s."""


class MediaError(ValueError):
    """A file that is not the media it should be: unreadable, truncated, or without the stream asked for."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a file holds, from its headers.

    Attributes:
        duration: seconds, of the longest stream.
        fps: average frames per second; `None` without pictures, or where the file does not say.
        width, height: pixels as stored, before any rotation; zero without pictures.
        sample_rate, channels: of the sound; zero without one.
        frames: number of pictures where the file says, otherwise `None`.
    """

    path: Path
    duration: Seconds
    fps: float | None
    width: int
    height: int
    has_video: bool
    has_audio: bool
    sample_rate: Hertz
    channels: int
    frames: int | None


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """A container to read from; every complaint of the decoder becomes one line that names the file.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: it is not media, or breaks while it is read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a media file, there is none")
    try:
        # An absolute path, so that a colon in a name is never taken for a protocol.
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        raise MediaError(f"{path}: cannot be read as media, or is cut short: {error.strerror}") from error


def picture_stream(container: InputContainer) -> av.VideoStream | None:
    """The first stream of moving pictures; the cover of a record is none."""
    return next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)


def zero(container: InputContainer) -> Seconds:
    """Where a player starts, on the file's own clock. A negative start is a codec's lead-in, which decoders drop."""
    return max(0, container.start_time or 0) / av.time_base


def declared_end(container: InputContainer, stream: Stream) -> Seconds | None:
    """When a stream ends according to the headers; `None` where they do not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - zero(container)
    written = stream.metadata.get("DURATION", "")  # Matroska keeps it as text, 00:00:26.113000000
    parts = written.split(":")
    if len(parts) == 3:
        hours, minutes, seconds = (float(part) for part in parts)
        return hours * 3600 + minutes * 60 + seconds - zero(container)
    if len(container.streams) == 1 and container.duration is not None:
        return container.duration / av.time_base
    return None


def probe(path: Path) -> MediaInfo:
    """What a file holds, without decoding it.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: it is not media, or has neither pictures nor sound.
    """
    path = Path(path)
    with opened(path) as container:
        picture = picture_stream(container)
        sound = next(iter(container.streams.audio), None)
        if picture is None and sound is None:
            raise MediaError(f"{path}: expected pictures or sound, found neither")
        rate = (picture.average_rate or picture.guessed_rate) if picture else None
        duration = container.duration
        return MediaInfo(
            path=path,
            duration=duration / av.time_base if duration else _last_packet_end(container),
            fps=float(rate) if rate else None,
            width=picture.width if picture else 0,
            height=picture.height if picture else 0,
            has_video=picture is not None,
            has_audio=sound is not None,
            sample_rate=sound.rate if sound else 0,
            channels=sound.channels if sound else 0,
            frames=picture.frames or None if picture else None,
        )


def _last_packet_end(container: InputContainer) -> Seconds:
    """The length of a file whose header does not say it, as browsers record them: by walking its packets."""
    ends = [
        float((packet.pts + (packet.duration or 0)) * packet.time_base)
        for packet in container.demux()
        if packet.pts is not None and packet.time_base is not None
    ]
    return max(ends, default=0.0) - zero(container)


def read_wave(path: Path, *, sample_rate: Hertz, start: Seconds = 0.0, end: Seconds | None = None) -> Wave:
    """The sound of a file between two times, mixed to one channel by the mean and resampled.

    Samples sit where the file's times put them: sound that starts late, or pauses, is preceded by zeros.
    A part equals the same samples of the whole, because resampling starts on a common multiple of both rates;
    in a container that counts milliseconds (Matroska) the two may lie half a millisecond apart.

    Args:
        sample_rate: hertz of the result, 8 to 96 kHz.
        end: seconds; `None` for the end of the sound. Past it, the wave is shorter than asked for.

    Shape:
        -> (S,), S = round((end - start) * sample_rate) where the sound lasts that long.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: it is unreadable, truncated, or has no sound.
        ValueError: the rate is out of range, or not 0 <= start < end.
    """
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise ValueError(f"expected a sample rate from {MIN_RATE} to {MAX_RATE} Hz, got {sample_rate}")
    _check_span(start, end)
    with opened(path) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            raise MediaError(f"{path}: expected sound, found no audio stream")
        rate = stream.rate
        grid = rate // math.gcd(rate, sample_rate)
        # `grid` native samples are a whole number of wanted ones, so starting on it keeps both clocks in step.
        first = max(0, math.floor((start - PREROLL) * rate / grid)) * grid
        last = None if end is None else math.ceil((end + PREROLL) * rate)
        native = _native(path, container, stream, first, last)
    wave = native if rate == sample_rate else soxr.resample(native, rate, sample_rate, quality="HQ")
    offset = first * sample_rate // rate
    stop = None if end is None else round(end * sample_rate) - offset
    return np.ascontiguousarray(wave[round(start * sample_rate) - offset : stop], dtype=np.float32)


def _native(path: Path, container: InputContainer, stream: av.AudioStream, first: int, last: int | None) -> Wave:
    """Mono samples `first` to `last` at the file's own rate; shorter where the sound ends."""
    rate, origin = stream.rate, zero(container)
    pieces: list[Wave] = []
    position = first  # the sample that the next piece starts at
    stopped = False
    for frame in _frames_from(path, container, stream, first / rate):
        if frame.sample_rate != rate:
            raise MediaError(f"{path}: sound changes from {rate} to {frame.sample_rate} Hz on the way")
        at = round((frame.time - origin) * rate) if frame.time is not None else position
        if abs(at - position) <= JITTER * rate and pieces:
            at = position
        stopped = last is not None and at >= last
        if stopped:
            break
        mono = _mono(frame)[max(0, position - at) :]
        if mono.size == 0:
            continue
        if at > position:
            pieces.append(np.zeros(at - position, dtype=np.float32))
        pieces.append(mono)
        position = max(at, position) + mono.size
    if not stopped:
        _refuse_truncated(path, container, stream, position / rate if last is None or position < last else None)
    wave = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)
    ends = [] if last is None else [last]
    promised = declared_end(container, stream)
    if promised is not None and 0 < position - round(promised * rate) <= PADDING:
        ends.append(round(promised * rate))
    return wave[: max(0, min(ends) - first)] if ends else wave


def _mono(frame: av.AudioFrame) -> Wave:
    """The mean of a frame's channels, full scale at one."""
    raw = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, frame.layout.nb_channels).T
    if raw.dtype == np.uint8:
        return ((raw.astype(np.float32) - 128) / 128).mean(axis=0)
    scale = 1.0 if raw.dtype.kind == "f" else 2.0 ** (8 * raw.dtype.itemsize - 1)
    return (raw / scale).mean(axis=0, dtype=np.float64).astype(np.float32)


def read_frames(
    path: Path, *, start: Seconds = 0.0, end: Seconds | None = None, max_height: int | None = None
) -> Iterator[Frame]:
    """The pictures first shown from `start` up to, not including, `end`, one at a time, with their own times.

    Rotation metadata is ignored: pictures are as stored.

    Args:
        max_height: pixels; taller pictures are shrunk to it, in proportion.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: it is unreadable, truncated, or has no pictures; a truncated file says so after its last picture.
        ValueError: not 0 <= start < end, or `max_height` < 2.
    """
    _check_span(start, end)
    _check_height(max_height)
    colours = _Colours(max_height)
    return (Frame(time, colours.rgb(frame)) for time, frame in _shown(path, start, end))


def sample_frames(
    path: Path, *, start: Seconds, end: Seconds, count: int, max_height: int | None = None
) -> tuple[Frame, ...]:
    """At most `count` different pictures spread evenly over a span: those on show in the middles of its `count` parts.

    Only the chosen are converted, and one undecided picture is held, so length costs time but no memory.

    Raises:
        FileNotFoundError, MediaError, ValueError: as `read_frames`; or `count` < 1.
    """
    _check_span(start, end)
    _check_height(max_height)
    if count < 1:
        raise ValueError(f"expected at least one frame, got {count}")
    middles = [start + (i + 0.5) * (end - start) / count for i in range(count)]
    chosen: list[Frame] = []
    colours = _Colours(max_height)
    held: tuple[Seconds, av.VideoFrame] | None = None
    for time, frame in _shown(path, start, end):
        # The held picture is on show until this one: it is chosen if a middle falls into that while.
        if held is not None and any(held[0] <= middle < time for middle in middles):
            chosen.append(Frame(held[0], colours.rgb(held[1])))
        held = (time, frame)
    if held is not None and any(held[0] <= middle for middle in middles):
        chosen.append(Frame(held[0], colours.rgb(held[1])))
    return tuple(chosen)


def _shown(path: Path, start: Seconds, end: Seconds | None) -> Iterator[tuple[Seconds, av.VideoFrame]]:
    """Decoded, not yet converted pictures of a span, with their times."""
    with opened(path) as container:
        stream = picture_stream(container)
        if stream is None:
            raise MediaError(f"{path}: expected pictures, found no video stream")
        if stream.width * stream.height >= THREADED_PIXELS:
            stream.thread_type = "AUTO"
        origin, seen = zero(container), 0.0
        for shown, frame in _in_order(path, _frames_from(path, container, stream, start)):
            time = shown - origin
            if end is not None and time >= end - SAME_INSTANT:
                return
            seen = max(seen, time + float(frame.duration * (frame.time_base or 0)))
            if time >= start - SAME_INSTANT:
                yield max(time, 0.0), frame
        _refuse_truncated(path, container, stream, seen if end is None or seen < end else None)


def _frames_from(path: Path, container: InputContainer, stream: Stream, start: Seconds) -> Iterator[Any]:
    """Decoded frames, the first of which starts at `start` or earlier unless the stream itself starts later.

    Containers without an index seek past the picture that the wanted one is built on, and a few cannot seek at all:
    then an earlier try, and at last decoding from the beginning, are slower and as exact.
    """
    if start <= 0:
        yield from container.decode(stream)
        return
    origin = zero(container)
    for back in (0, SEEK_BACK):
        if start - back <= 0:
            break
        try:
            container.seek(int((start - back + origin) * av.time_base))
            frames: Iterator[Any] = container.decode(stream)
            head = next(frames, None)
        except (av.InvalidDataError, av.PermissionError, av.EOFError):
            break
        if head is not None and head.time is not None and head.time - origin <= start + SAME_INSTANT:
            yield head
            yield from frames
            return
    with opened(path) as fresh:
        yield from fresh.decode(fresh.streams[stream.index])


def _in_order(path: Path, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[Seconds, av.VideoFrame]]:
    """Pictures with the file's own times. Old containers, AVI above all, hand out the right times in decoding order;
    pictures always come in the order they are shown, so sorting the times of a few puts both in step.
    """
    waiting: deque[av.VideoFrame] = deque()
    times: list[Seconds] = []
    for frame in frames:
        if frame.time is None:
            raise MediaError(f"{path}: its pictures carry no times; put it into a container such as mp4 or mkv")
        waiting.append(frame)
        heappush(times, frame.time)
        if len(waiting) > REORDERED:
            yield heappop(times), waiting.popleft()
    while waiting:
        yield heappop(times), waiting.popleft()


def _refuse_truncated(path: Path, container: InputContainer, stream: Stream, reached: Seconds | None) -> None:
    """Compares where decoding ended with where the headers said it would; `None` when it was stopped on purpose."""
    promised = declared_end(container, stream)
    if reached is not None and promised is not None and reached < promised - TRUNCATION:
        raise MediaError(
            f"{path}: truncated, {stream.type} ends at {reached:.2f} s where its header says {promised:.2f} s"
        )


class _Colours:
    """Decoded pictures to RGB. One converter serves a whole file: setting one up costs more than a small picture."""

    def __init__(self, max_height: int | None) -> None:
        self._max_height = max_height
        self._converter = VideoReformatter()

    def rgb(self, frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
        height, most = frame.height, self._max_height
        if most is None or height <= most:
            plain = self._converter.reformat(frame, format="rgb24")
        else:
            width = max(2, round(frame.width * most / height))
            plain = self._converter.reformat(frame, width, most, "rgb24", interpolation="AREA")
        return plain.to_ndarray()  # type: ignore[return-value]


def _check_span(start: Seconds, end: Seconds | None) -> None:
    if not (0 <= start < math.inf and (end is None or start < end)):
        raise ValueError(f"expected 0 <= start < end, got {start} and {end}")


def _check_height(max_height: int | None) -> None:
    if max_height is not None and max_height < 2:
        raise ValueError(f"expected a height of at least 2 pixels, got {max_height}")
