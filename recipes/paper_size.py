"""How large and how fast is the published network here? Parameters, an update and a line, beside the public code's.

    OMP_WAIT_POLICY=PASSIVE python recipes/paper_size.py [--lines 4] [--repeats 7] [--json]

Random weights: sizes and times only, nothing of quality. A line is the public code's own measure: 30 phones, 63 frames
of lips, 215 of mel, 215 of prompt, 3 references a modality, float32, without a vocoder. With a GPU also its real-time
factor at 1 and 16 lines, and what training reaches there in bfloat16, in clips a second and memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from authentic_dubber.config import DubberConfig, Vocabulary, build_config
from authentic_dubber.narrowing import narrowed
from authentic_dubber.prosody import Prosody
from authentic_dubber.symbols import INVENTORY_NAME, SYMBOL_COUNT
from authentic_dubber.synthesizer import Inputs
from authentic_dubber.training.corpora import EMOTIONS
from authentic_dubber.training.dataset import Batch
from authentic_dubber.training.mends import mends_table
from authentic_dubber.training.state import State
from authentic_dubber.training.update import train_step
from graphs import DialogueGraph

SPACES = {
    "scene": "caption-emotion/1024",
    "face": "caption-emotion/1024",
    "text": "own-and-reaction/2048",
    "audio": "emotion2vec/1024",
}
PHONES, LIP_FRAMES, FRAMES, REFERENCES = 30, 63, 215, 3
SECONDS = FRAMES * 256 / 22050

PARTS: dict[str, tuple[tuple[str, ...], int | None]] = {
    "phoneme encoder, prompt and cross-modal transformer": (("phonemes", "style", "style_attention"), 58_614_426),
    "lip encoder": (("lips",), 26_900_000),
    "phoneme-lip attention and durations": (("lip_attention", "durations"), None),
    "three graphs": (("graph",), 3_880_000),
    "three aggregators": (("aggregators",), 1_180_000),
    "decoder": (("decoder", "out"), 75_670_000),
    "postnet": (("postnet",), 1_320_000),
    "emotion head": (("heard_emotion",), None),
    "director (ours; reads, teaches nothing)": (("director",), None),
    "conditions and joins": (("condition", "place", "fuse"), None),
}
"""A part, its modules here, and the parameters measured of the public code; None where that measure names none."""
PUBLIC = {
    "all": 168_779_347,
    "dead": 18_000_000,
    "ms_1_thread": 342.0,
    "ms_2_threads": 182.3,
    "decoder_ms_1_thread": 234.2,
    "decoder_ms_2_threads": 116.1,
}


class PlainLayer(nn.Module):
    """A FastSpeech layer without conditions and masks: what 24 of take here and now tells how fast the machine is.

    Shape:
        (B, T, D) -> (B, T, D).
    """

    def __init__(self, width: int, heads: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.heads = heads
        self.asks, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rise, self.fall = nn.Conv1d(width, hidden, kernel, padding=kernel // 2), nn.Conv1d(hidden, width, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.asks(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heard = torch.softmax(query @ key.transpose(2, 3) / query.shape[3] ** 0.5, 3) @ value
        x = self.norms[0](x + self.out(heard.transpose(1, 2).flatten(2)))
        y = self.fall(nn.functional.relu(self.rise(x.transpose(1, 2)))).transpose(1, 2)
        return torch.as_tensor(self.norms[1](x + y))


def paper_config(width: int) -> DubberConfig:
    """The paper size in spaces as wide as the published vectors."""
    words = Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, SPACES, "lip-reading/512", EMOTIONS)
    config = build_config("paper", words)
    return config if width == config.width else narrowed(config, width)


def made_up(config: DubberConfig, lines: int) -> Batch:
    """Lines of the size the public code was measured with, of random numbers."""
    draw = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    widths = config.graph.in_widths
    asking = ("scene", "face", "text")
    graph = DialogueGraph(
        own={m: numbers(lines, widths[m]) for m in asking},
        own_mask=torch.ones(lines, 3, dtype=torch.bool),
        references={m: numbers(lines, REFERENCES, widths[m]) for m in asking},
        audio={m: numbers(lines, REFERENCES, widths["audio"]) for m in asking},
        reference_mask=torch.ones(lines, 3, REFERENCES, dtype=torch.bool),
        audio_mask=torch.ones(lines, 3, REFERENCES, dtype=torch.bool),
        similarity=torch.ones(lines, 3, REFERENCES),
    )
    durations = torch.full((lines, PHONES), FRAMES // PHONES)
    durations[:, : FRAMES % PHONES] += 1
    whole, mels = torch.full((lines,), FRAMES), config.mel.n_mels
    inputs = Inputs(
        symbols=torch.randint(1, config.symbol_count, (lines, PHONES), generator=draw),
        symbol_lengths=torch.full((lines,), PHONES),
        prompt=numbers(lines, mels, FRAMES) - 5,
        prompt_lengths=whole,
        speaker=nn.functional.normalize(numbers(lines, config.speaker_width), dim=1),
        lips=numbers(lines, LIP_FRAMES, config.lip_width),
        lip_lengths=torch.full((lines,), LIP_FRAMES),
        graph=graph,
        feeling=torch.full((lines, len(config.emotions)), 1 / len(config.emotions)),
        directed=torch.zeros(lines, dtype=torch.bool),
        strength=torch.ones(lines),
    )
    flat = torch.full((lines, PHONES), 0.5)
    emotion = torch.arange(lines) % len(config.emotions)
    return Batch(
        inputs, numbers(lines, mels, FRAMES) - 5, whole, durations, emotion, Prosody(flat, flat, flat), inputs.speaker
    )


def parameters(modules: list[nn.Module]) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


def seconds(
    work: Callable[[], object], repeats: int, device: str, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Of each of so many runs, after two to warm up."""
    taken = []
    for _ in range(repeats + 2):
        _settle(device)
        start = clock()
        work()
        _settle(device)
        taken.append(clock() - start)
    return taken[2:]


def _settle(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def speak(state: State, batch: Batch) -> None:
    """A line or more, from symbols to mel."""
    with torch.inference_mode():
        state.model.decode(state.model.encode(batch.inputs), batch.durations)


def size_of(state: State, lines: int) -> dict[str, Any]:
    """Parameters by part, an update on the CPU, and what no update reaches."""
    model, config = state.model, state.model.config
    named = dict(model.named_children())
    parts = {part: parameters([named[name] for name in names]) for part, (names, _) in PARTS.items()}
    total = parameters([model])
    if total != sum(parts.values()):
        raise ValueError(f"expected the parts to be the whole, {total} parameters, got {sum(parts.values())}")
    batch = made_up(config, lines)
    start, worked = time.perf_counter(), time.process_time()
    train_step(state, batch, 0, bf16=False)
    update, worked = time.perf_counter() - start, time.process_time() - worked
    dead = sum(weight.numel() for weight in model.parameters() if weight.grad is None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    facts = {"lines": lines, "threads": torch.get_num_threads(), "peak_gib": round(peak, 2)}
    facts |= {"seconds": round(update, 2), "cpu_seconds": round(worked, 2)}
    return {"parts": parts, "total": total, "dead": dead, "update": facts}


def on_cpu(state: State, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds by threads, least and median: a line, its decoder alone, and as many plain layers."""
    model = state.model.eval()
    told: dict[str, dict[str, float]] = {}
    batch, size = made_up(model.config, 1), model.config.decoder
    plain = nn.Sequential(*(PlainLayer(size.width, size.heads, size.inner, size.kernel) for _ in range(size.layers)))
    frames, mask = torch.randn(1, FRAMES, size.width), torch.ones(1, FRAMES, dtype=torch.bool)
    plain.eval()
    works: dict[str, Callable[[], object]] = {
        "line": lambda: speak(state, batch),
        "decoder": lambda: model.decoder(frames, mask),
        "plain": lambda: plain(frames),
    }
    for threads in (1, 2):
        torch.set_num_threads(threads)
        told[str(threads)] = {}
        with torch.inference_mode():
            taken = {name: [1000 * s for s in seconds(work, repeats, "cpu")] for name, work in works.items()}
        for name, times in taken.items():
            told[str(threads)] |= {f"{name}_min_ms": min(times), f"{name}_median_ms": statistics.median(times)}
    torch.set_num_threads(1)
    # On a machine that does other work the clock measures that too; a thread's own time does not.
    worked = seconds(works["line"], repeats, "cpu", time.process_time)
    told["1"]["line_cpu_ms"] = 1000 * min(worked)
    return {threads: {name: round(ms, 1) for name, ms in times.items()} for threads, times in told.items()}


def on_gpu(config: DubberConfig, repeats: int) -> dict[str, Any]:
    """Real-time factors at 1 and 16 lines in float32; training at the published 32 lines in bfloat16."""
    told: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    state = State.fresh(config, 0, torch.device("cuda"))
    state.model.eval()
    for lines in (1, 16):
        batch = made_up(config, lines).to("cuda")
        taken = seconds(lambda batch=batch: speak(state, batch), repeats, "cuda")  # type: ignore[misc]
        told[f"rtf_{lines}"] = statistics.median(taken) / (lines * SECONDS)
    batch = made_up(config, config.train.batch).to("cuda")
    torch.cuda.reset_peak_memory_stats()
    taken = seconds(lambda: train_step(state, batch, 0, bf16=True), repeats, "cuda")
    told["training_clips_per_second"] = config.train.batch / statistics.median(taken)
    told["training_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return told


def show(found: dict[str, Any]) -> None:
    print(f"{'part':52}{'here':>12}{'public code':>14}")
    for part, count in found["parts"].items():
        public = PARTS[part][1]
        print(f"{part:52}{count:12,}{'' if public is None else f'{public:,}':>14}")
    print(f"{'all':52}{found['total']:12,}{PUBLIC['all']:14,}")
    print(f"{'reached by no update':52}{found['dead']:12,}{'about 18 M':>14}")
    u = found["update"]
    told = f"{u['lines']} lines, {u['threads']} thread, float32: {u['seconds']} s ({u['cpu_seconds']} of CPU)"
    told += f", peak {u['peak_gib']} GiB"
    print(f"one update, {told}")
    for threads, ms in found["line"].items():
        suffix = "1_thread" if threads == "1" else "2_threads"
        cpu = f", {ms['line_cpu_ms']} of CPU" if "line_cpu_ms" in ms else ""
        print(f"a line of {SECONDS:.1f} s, {threads} thread(s), ms at least and median; public code at least")
        print(f"  whole    {ms['line_min_ms']:8} {ms['line_median_ms']:8}{cpu}; {PUBLIC[f'ms_{suffix}']}")
        print(f"  decoder  {ms['decoder_min_ms']:8} {ms['decoder_median_ms']:8}; {PUBLIC[f'decoder_ms_{suffix}']}")
        print(
            f"  plain    {ms['plain_min_ms']:8} {ms['plain_median_ms']:8}  (as many FastSpeech layers and nothing else)"
        )
    if found["gpu"] is None:
        print("no GPU here: nothing measured on one")
    else:
        print("GPU: " + ", ".join(f"{name} {value}" for name, value in found["gpu"].items()))
    print(mends_table())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=4, help="of the update on the CPU")
    parser.add_argument("--width", type=int, default=256, help="of the model; 256 is the published one")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = paper_config(options.width)
    state = State.fresh(config, 0, torch.device("cpu"))
    found = size_of(state, options.lines) | {"line": on_cpu(state, options.repeats)}
    found["gpu"] = on_gpu(config, options.repeats) if torch.cuda.is_available() else None
    if options.json:
        print(json.dumps(found | {"public": PUBLIC}))
    else:
        show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
