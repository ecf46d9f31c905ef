"""How long does BigVGAN take on one thread? A line of 2.5 s through the full size, its ripples two ways, in turns.

    python recipes/bigvgan_timing.py --json

Weights are random: speed only, nothing here says anything about quality. Both ways run in one process, alternately; the
smallest times of each are printed, by the clock and by the processor, which a busy machine does not lengthen as much.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass

import torch

from vocoder.antialias import AntialiasedSnake
from vocoder.bigvgan import BigvganConfig, BigvganGenerator
from vocoder.mel import MelConfig

SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class Timing:
    """Attributes:
    way: `tiles`, as a CPU speaks, or `convolutions`, as the published code does on a CPU.
    clock, processor: seconds for the line, smallest of the rounds.
    real_time_factor: of the clock.
    ripples: processor seconds of them that the activations take.
    """

    way: str
    clock: float
    processor: float
    real_time_factor: float
    ripples: float


class Meter:
    """Processor seconds spent in the activations of a generator."""

    def __init__(self, generator: BigvganGenerator) -> None:
        self.spent, self._entered = 0.0, 0.0
        for module in generator.modules():
            if isinstance(module, AntialiasedSnake):
                module.register_forward_pre_hook(self._enter)
                module.register_forward_hook(self._leave)

    def _enter(self, *_: object) -> None:
        self._entered = time.process_time()

    def _leave(self, *_: object) -> None:
        self.spent += time.process_time() - self._entered


@torch.inference_mode()
def measure(rounds: int) -> tuple[int, list[Timing]]:
    """Parameters of the generator, and the time that each way takes."""
    mel_config = MelConfig()
    generator = BigvganGenerator(BigvganConfig.v2_22khz(), mel_config).eval()
    mel = torch.randn(1, mel_config.n_mels, mel_config.frames(SECONDS)) - 5
    meter, tiled, best = Meter(generator), AntialiasedSnake.tiled, {}
    ways = {"tiles": tiled, "convolutions": lambda self, x: self.downsample(self.act(self.upsample(x)))}
    for _ in range(rounds + 1):  # the first round warms up, and the minimum leaves it out by itself
        for way, forward in ways.items():
            AntialiasedSnake.tiled = forward  # type: ignore[method-assign, assignment]
            meter.spent = 0.0
            clock, processor = time.perf_counter(), time.process_time()
            generator(mel)
            took = time.perf_counter() - clock, time.process_time() - processor, meter.spent
            best[way] = tuple(map(min, best.get(way, took), took))
    AntialiasedSnake.tiled = tiled  # type: ignore[method-assign]
    count = sum(weight.numel() for weight in generator.parameters())
    return count, [Timing(way, t[0], t[1], t[0] / SECONDS, t[2]) for way, t in best.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each way")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    count, timings = measure(given.rounds)
    if given.json:
        print(json.dumps({"parameters": count, "timings": [asdict(one) for one in timings]}, indent=2))
        return
    print(f"{count / 1e6:.2f} M parameters, {SECONDS} s of sound, {given.threads} thread(s)")
    for one in timings:
        print(
            f"{one.way:13s} {one.clock:.2f} s by the clock (real-time factor {one.real_time_factor:.2f}), "
            f"{one.processor:.2f} s of processor, {one.ripples:.2f} of them in activations"
        )


if __name__ == "__main__":
    main()
