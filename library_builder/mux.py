"""Writing media: waves as WAV, pictures as video, and new sound under pictures that are left untouched.

With `media`, the only module that knows PyAV. Every file is written under a temporary name and then renamed.
"""

from __future__ import annotations

import math
import wave as riff
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
import numpy.typing as npt
import soxr
from av.container import InputContainer, OutputContainer

from .atomic import whole_file
from .media import MediaError, Wave, opened, picture_stream, zero
from .types import Hertz, Seconds

AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
"""Sample rates AAC knows; sound at any other is resampled to `FALLBACK_RATE`."""

FALLBACK_RATE: Hertz = 48_000

BITS_PER_SAMPLE, MAX_BIT_RATE = 4, 160_000
"""AAC bit rate per channel: generous for speech, and below the format's ceiling of six bits per sample."""

AAC_SAMPLES = 1024
"""Samples in one AAC frame."""

QUALITY = {"libx264": {"crf": "16", "preset": "veryfast"}, "mpeg4": {"qscale": "2"}}
"""Close to transparent: test pictures and drawn footage are measured after they were encoded."""

PICTURE_CODEC = "libx264" if "libx264" in av.codecs_available else "mpeg4"

BT601 = 6
"""FFmpeg's number for the colour matrix that pictures are converted with; written down, so that no player guesses."""


def write_wave(path: Path, wave: Wave, sample_rate: Hertz) -> None:
    """Writes 16-bit PCM: samples times 32768, rounded to nearest (ties to even), clipped to [-32768, 32767].

    Reading the file back gives the wave within half a step, 1/65536, wherever it was inside [-1, 1 - 1/32768].

    Shape:
        wave: (S,) or (S, C), full scale at one.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: a sample is not finite, the shape is another, or the rate is not positive.
    """
    sound = _checked(wave, sample_rate)
    integers = np.clip(np.rint(sound.astype(np.float64) * 32768), -32768, 32767).astype("<i2")
    with whole_file(Path(path)) as temporary, riff.open(str(temporary), "wb") as file:
        file.setnchannels(sound.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(integers.tobytes())


def write_video(
    path: Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    fps: float | Fraction,
    wave: Wave | None = None,
    sample_rate: Hertz | None = None,
) -> None:
    """Writes pictures as H.264 (MPEG-4 where FFmpeg was built without x264), yuv420p, and sound as AAC.

    Pictures are taken one at a time. The sound keeps its own length; `mux` is what makes lengths agree.

    Shape:
        frames: uint8 RGB (H, W, 3), H and W even, all alike; wave: (S,) or (S, C), C at most 2.

    Raises:
        FileNotFoundError: the folder does not exist.
        MediaError: the container, told by the suffix, cannot hold these streams.
        ValueError: no pictures, a shape or type is another, the rate is not positive, or a wave comes without a rate.
    """
    if not 0 < float(fps) < math.inf:
        raise ValueError(f"expected a positive frame rate, got {fps}")
    rate = Fraction(fps).limit_denominator(1001)  # 1001 keeps 24000/1001 and its kin exact
    sound = None if wave is None else _checked(wave, sample_rate)
    codecs = [PICTURE_CODEC] if sound is None else [PICTURE_CODEC, "aac"]
    with whole_file(Path(path)) as temporary, _created(temporary, Path(path), *codecs) as container:
        pictures = _checked_pictures(frames)
        first = next(pictures, None)
        if first is None:
            raise ValueError(f"{path}: expected at least one picture, got none")
        stream = _picture_encoder(container, first, rate)
        track = None if sound is None else _SoundTrack(container, sound, cast(int, sample_rate))
        for number, image in enumerate(chain([first], pictures)):
            if track is not None:
                track.write_until(float(number / rate))
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace="ITU601")))
        container.mux(stream.encode(None))
        if track is not None:
            track.close()


def mux(picture: Path, wave: Wave, sample_rate: Hertz, out: Path) -> None:
    """Puts new sound under a picture: its video packets are copied untouched, the wave becomes AAC.

    The sound starts when the picture's file starts and is as long as its pictures: cut, or filled up with zeros.
    Any other stream of the picture's file is left out. `out` may be `picture` itself.

    Shape:
        wave: mono (S,) or (S, 1), stereo (S, 2); full scale at one.

    Raises:
        FileNotFoundError: the picture, or the folder of `out`, does not exist.
        MediaError: the picture is unreadable or has no video stream, or `out`'s container cannot hold it.
        ValueError: the wave has another shape, is not finite, or its rate is not positive.
    """
    picture, out = Path(picture), Path(out)
    sound = _checked(wave, sample_rate)
    with opened(picture) as source:
        length, codec = _picture_end(source, picture)
    fitted = np.zeros((round(length * sample_rate), sound.shape[1]), dtype=np.float32)
    fitted[: len(sound)] = sound[: len(fitted)]
    with (
        opened(picture) as source,
        whole_file(out) as temporary,
        _created(temporary, out, codec, "aac") as container,
    ):
        stream = picture_stream(source)
        assert stream is not None, picture  # _picture_end found it
        # Opaque: copied by its parameters alone, so that no encoder of its codec is needed.
        copy = container.add_stream_from_template(stream, opaque=True)
        track = _SoundTrack(container, fitted, sample_rate)
        for packet, dts, base in _dated(source, stream):
            shift = round(zero(source) / base)
            packet.dts = dts - shift
            packet.pts = None if packet.pts is None else packet.pts - shift
            track.write_until(float((dts - shift) * base))
            packet.stream = copy
            container.mux(packet)
        track.close()


def _picture_end(source: InputContainer, picture: Path) -> tuple[Seconds, str]:
    """When the last picture stops being shown, by its packets as some headers say nothing; and the codec's name."""
    stream = picture_stream(source)
    if stream is None:
        raise MediaError(f"{picture}: expected pictures, found no video stream")
    ends = [
        float((packet.pts + (packet.duration or 0)) * packet.time_base)
        for packet in source.demux(stream)
        # An edit list hides discarded packets; they are copied, because shown pictures may be built on them.
        if packet.pts is not None and packet.time_base is not None and not packet.is_discard
    ]
    if not ends:
        raise MediaError(f"{picture}: its video stream holds no pictures with times")
    return max(ends) - zero(source), stream.codec_context.codec.name


def _dated(source: InputContainer, stream: av.VideoStream) -> Iterator[tuple[av.Packet, int, Fraction]]:
    """Packets with their decoding times and time base. Matroska keeps no decoding times and the first few, before
    reordered pictures settle, come without: they are counted back from the first that is known.
    """
    undated: list[av.Packet] = []
    for packet in source.demux(stream):
        if packet.size == 0 or packet.time_base is None:  # demuxing ends with an empty packet
            continue
        undated.append(packet)
        if packet.dts is None:
            continue
        for back, early in zip(range(len(undated) - 1, -1, -1), undated, strict=True):
            yield early, packet.dts - back * (packet.duration or 1), packet.time_base
        undated = []
    if undated:
        raise MediaError(f"{source.name}: its pictures carry no decoding times, so they cannot be copied")


class _SoundTrack:
    """An AAC stream fed little by little, so that sound and picture lie side by side in the file.

    Shape:
        sound: (S, C).
    """

    def __init__(self, container: OutputContainer, sound: Wave, sample_rate: Hertz) -> None:
        if sample_rate not in AAC_RATES:
            sound = soxr.resample(sound, sample_rate, FALLBACK_RATE, quality="HQ")
            sample_rate = FALLBACK_RATE
        channels = sound.shape[1]
        if channels > 2:
            raise ValueError(f"expected mono or stereo sound under a picture, got {channels} channels")
        self.container, self.rate, self.position = container, sample_rate, 0
        self.layout = "mono" if channels == 1 else "stereo"
        self.sound = np.clip(sound, -1, 1).astype(np.float32)
        self.stream = container.add_stream("aac", rate=sample_rate, layout=self.layout)
        self.stream.bit_rate = min(MAX_BIT_RATE, BITS_PER_SAMPLE * sample_rate) * channels

    def write_until(self, time: Seconds) -> None:
        """Encodes whole AAC frames up to a time in seconds."""
        stop = min(len(self.sound), math.ceil(time * self.rate))
        while self.position + AAC_SAMPLES <= stop:
            self._encode(self.sound[self.position : self.position + AAC_SAMPLES])

    def close(self) -> None:
        """Encodes the rest."""
        self.write_until(math.inf if len(self.sound) == 0 else len(self.sound) / self.rate + 1)
        if self.position < len(self.sound):
            self._encode(self.sound[self.position :])
        self.container.mux(self.stream.encode(None))

    def _encode(self, piece: Wave) -> None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece.T), format="fltp", layout=self.layout)
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self.position, Fraction(1, self.rate)
        self.container.mux(self.stream.encode(frame))
        self.position += len(piece)


def _picture_encoder(container: OutputContainer, image: npt.NDArray[np.uint8], rate: Fraction) -> av.VideoStream:
    stream = cast(av.VideoStream, container.add_stream(PICTURE_CODEC, rate=rate, options=QUALITY[PICTURE_CODEC]))
    stream.height, stream.width = image.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.colorspace = BT601
    stream.codec_context.time_base = 1 / rate
    return stream


@contextmanager
def _created(temporary: Path, path: Path, *codecs: str) -> Iterator[OutputContainer]:
    """A container for these codecs; FFmpeg's complaints become one line that names the file the caller asked for."""
    try:
        container = av.open(str(temporary.absolute()), "w")
    except ValueError as error:  # FFmpeg knows containers by their suffix
        raise MediaError(f"{path}: expected a suffix such as .mp4, .mov or .mkv, got {path.suffix!r}") from error
    try:
        with container:
            for codec in codecs:
                if codec not in container.supported_codecs:
                    raise MediaError(f"{path}: a {container.format.name} file cannot hold {codec}")
            yield container
    except av.FFmpegError as error:
        raise MediaError(f"{path}: cannot be written: {error.strerror}") from error


def _checked(wave: Wave, sample_rate: Hertz | None) -> Wave:
    """A wave as (S, C)."""
    if sample_rate is None or sample_rate < 1:
        raise ValueError(f"expected a positive sample rate with the wave, got {sample_rate}")
    sound = np.asarray(wave, dtype=np.float32)
    if sound.ndim not in (1, 2) or (sound.ndim == 2 and not 1 <= sound.shape[1] <= 8):
        raise ValueError(f"expected a wave (S,) or (S, C), got shape {sound.shape}")
    if not np.isfinite(sound).all():
        raise ValueError("expected a finite wave, got NaN or infinity")
    return sound if sound.ndim == 2 else sound[:, None]


def _checked_pictures(frames: Iterable[npt.NDArray[np.uint8]]) -> Iterator[npt.NDArray[np.uint8]]:
    """The pictures, refused where one is no even RGB picture or differs in size from the first."""
    shape: tuple[int, ...] | None = None
    for number, image in enumerate(frames):
        shape = shape or image.shape
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.shape != shape:
            raise ValueError(
                f"picture {number}: expected uint8 {shape or '(H, W, 3)'}, got {image.dtype} {image.shape}"
            )
        if image.shape[0] % 2 or image.shape[1] % 2 or 0 in image.shape:
            raise ValueError(f"picture {number}: expected even height and width, got {image.shape[:2]}")
        yield np.ascontiguousarray(image)
