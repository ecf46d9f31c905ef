"""Does every line of a dubbing session sound inside its slot, at a speed people speak at?

    python recipes/timing.py OUT [--checkpoint DIR] [--json]

An independent voice activity detector (WebRTC's; the engine times nothing by it) finds where each take's WAV sounds.
Onset and offset are compared with the slot in `takes.json`; speed, in phones a second without rests, with the 5th to
95th percentile of the recordings the checkpoint was trained on, which its card holds. Exits with 1 when a line misses.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import webrtcvad

from authentic_dubber.checkpoint import packaged_checkpoint, read_card
from authentic_dubber.symbols import PAUSES, SILENCE
from library_builder.media import read_wave

RATE = 16_000
FRAME_SECONDS = 0.01
AGGRESSIVENESS = 2
"""0 to 3; at 3 soft consonants at the edges count as silence, at 0 the fade after a vowel counts as speech."""
TOLERANCE = 0.08
"""Seconds. Viewers notice a lag of about this much; half of it is the detector's own grain."""


@dataclass(frozen=True, slots=True)
class LineTiming:
    """One line: errors in seconds (positive is late), speed in phones a second."""

    id: str
    text: str
    slot: tuple[float, float]
    source: str
    onset_error: float | None
    offset_error: float | None
    phones_per_second: float | None
    verdict: str

    def holds(self, slowest: float, fastest: float) -> bool:
        """Whether the line sounds in its slot and at a speed within the range."""
        if self.onset_error is None or self.offset_error is None or self.phones_per_second is None:
            return False
        inside = max(abs(self.onset_error), abs(self.offset_error)) <= TOLERANCE
        return inside and slowest <= self.phones_per_second <= fastest


def voiced_span(wave: npt.NDArray[np.float32]) -> tuple[float, float] | None:
    """First and last moment the detector hears speech, in seconds; None when it hears none.

    Shape:
        (S,) at 16 kHz.
    """
    detector = webrtcvad.Vad(AGGRESSIVENESS)
    step = round(FRAME_SECONDS * RATE)
    samples = (np.clip(wave, -1, 1) * 32767).astype("<i2")
    # The detector adapts to the noise before speech, and it holds on after it; silence on both sides lets it settle.
    quiet = np.zeros(30 * step, dtype="<i2")
    heard = _spoken(detector, np.concatenate([quiet, samples, quiet]), step)
    backward = _spoken(webrtcvad.Vad(AGGRESSIVENESS), np.concatenate([quiet, samples[::-1], quiet]), step)
    if not heard.any() or not backward.any():
        return None
    first = (int(heard.argmax()) - 30) * FRAME_SECONDS
    # Its end is held for a tenth of a second by design, so the end is found as the beginning of the reversed wave.
    last = len(samples) / RATE - (int(backward.argmax()) - 30) * FRAME_SECONDS
    return first, last


def _spoken(detector: webrtcvad.Vad, samples: npt.NDArray[np.int16], step: int) -> npt.NDArray[np.bool_]:
    frames = [samples[i : i + step].tobytes() for i in range(0, len(samples) - step + 1, step)]
    return np.array([detector.is_speech(frame, RATE) for frame in frames])


def line_timing(record: dict[str, object], out: Path) -> LineTiming:
    """The timing of one record of `takes.json`."""
    start, end = record["slot"]  # type: ignore[misc]
    span = voiced_span(read_wave(out / str(record["file"]), sample_rate=RATE))
    symbols: list[str] = record["symbols"]  # type: ignore[assignment]
    phones = sum(symbol not in (SILENCE, *PAUSES) for symbol in symbols)
    return LineTiming(
        id=str(record["id"]),
        text=str(record["text"]),
        slot=(start, end),
        source=str(record["source"]),
        onset_error=None if span is None else round(span[0], 3),
        offset_error=None if span is None else round(span[1] - (end - start), 3),
        phones_per_second=None if span is None else round(phones / (span[1] - span[0]), 2),
        verdict=str(record["verdict"]),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder that `dub say` wrote")
    parser.add_argument("--checkpoint", type=Path, default=packaged_checkpoint())
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    takes = json.loads((options.out / "takes.json").read_text(encoding="utf-8"))
    slowest, fastest = read_card(options.checkpoint).facts["phones_per_second"]
    lines = [line_timing(record, options.out) for record in takes["lines"] if record["status"] == "ok"]
    held = [line.holds(slowest, fastest) for line in lines]
    if options.json:
        rows = [asdict(line) | {"holds": ok} for line, ok in zip(lines, held, strict=True)]
        print(json.dumps({"lines": rows, "range": [slowest, fastest], "tolerance": TOLERANCE, "holds": all(held)}))
    else:
        print(f"phones a second in the recordings, 5-95 %: {slowest} to {fastest}; tolerance {TOLERANCE * 1000:.0f} ms")
        for line, ok in zip(lines, held, strict=True):
            print(
                f"{'ok  ' if ok else 'MISS'} {line.id} {line.source:5s} onset {_ms(line.onset_error)} "
                f"offset {_ms(line.offset_error)} {line.phones_per_second} phones/s  {line.text}  {line.verdict}"
            )
    return 0 if lines and all(held) else 1


def _ms(seconds: float | None) -> str:
    return "  none" if seconds is None else f"{seconds * 1000:+5.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
