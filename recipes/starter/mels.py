"""Draw one held-out sentence as recorded and as the voice speaks it, one mel above the other.

python recipes/starter/mels.py out/sets/words docs/mels.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.figure
import numpy as np
import torch

from authentic_dubber.dubber import Dubber
from authentic_dubber.evaluation.sets import EvaluationSet
from authentic_dubber.types import Line
from library_builder.media import read_wave
from vocoder import log_mel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="an evaluation set with recordings")
    parser.add_argument("png", type=Path)
    parser.add_argument("--case", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="checkpoint folder; the starter by default")
    given = parser.parse_args()
    dubber, cases = Dubber.load(given.checkpoint, device="cpu"), EvaluationSet.open(given.set)
    case = cases.cases[given.case]
    recording = cases.reference(case)
    if recording is None:
        raise SystemExit(f"{given.set}: expected case {case.id} to have a recording")
    line = Line(case.id, case.voice, case.text, 0.0, 60.0, None, case.language)
    take = dubber.say(line, dubber.voice(case.voice, cases.prompt(case)), k=0)
    rate = dubber.mel_config.sample_rate
    waves = {"recorded": read_wave(recording, sample_rate=rate), "spoken by the starter voice": take.wave}
    figure = matplotlib.figure.Figure(figsize=(9, 4.6), layout="constrained")
    figure.suptitle(case.text, fontsize=10)
    longest = max(len(wave) for wave in waves.values()) / rate
    for i, (title, wave) in enumerate(waves.items()):
        mel = log_mel(torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))[None], dubber.mel_config)[0]
        axes = figure.add_subplot(2, 1, i + 1)
        seconds = len(wave) / rate
        axes.imshow(
            mel.numpy(), origin="lower", aspect="auto", vmin=-11, vmax=1, extent=(0, seconds, 0, len(mel)), cmap="magma"
        )
        axes.set(title=title, ylabel="mel band", xlim=(0, longest))
    figure.axes[-1].set_xlabel("seconds")
    given.png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.png, dpi=80)


if __name__ == "__main__":
    main()
