"""Can the sentences be made out that the voice speaks? Held-out sentences, spoken without a picture, beside recordings.

    python recipes/intelligibility.py DATA --checkpoint FOLDER --out out/intelligibility

DATA holds `kathleen/`. The voice comes from one training recording, never from the target; the pace is the model's own,
never the recording's length. A language model of the test sentences helps the recogniser, so the error rate is not one
in the literature's sense: it says whether the intended sentence is acoustically recoverable. Speaker similarity is to
the centroid of the other recordings, measured by the encoder that also conditions the model, so it flatters.

Writes waves, `intelligibility.json` and `intelligibility.html`. Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

import librosa
import numpy as np
import numpy.typing as npt
import soxr
import torch
from tqdm import tqdm

from authentic_dubber.dubber import Dubber
from authentic_dubber.evaluation.intelligibility import (
    FAILED_ALIGNMENT,
    SAMPLE_RATE,
    Errors,
    Estimate,
    Recogniser,
    alignment_score,
    ratio_of_sums,
    word_errors,
    words,
)
from authentic_dubber.levels import TARGET_DBFS
from authentic_dubber.speaker import GE2E, BadPrompt, SpeakerEncoder
from authentic_dubber.training.corpora import Utterance, read_corpora
from authentic_dubber.training.heldout import held_out_part, training_part
from authentic_dubber.types import Line
from library_builder.atomic import whole_file
from library_builder.media import read_wave
from library_builder.mux import write_wave
from vocoder.mel import MelConfig, log_mel

CORPUS = "kathleen"
PROMPT = "arctic_a0009"
"""The recording that lends its voice: of the training part, plain reading, fixed so that runs compare."""
BATCH = 8
LONGEST_LINE = 60.0
"""Seconds; a line without a picture needs a cue, but takes no length from it."""
MAX_WER = 0.40
MIN_ALIGNMENT = -46.0
SYNTHETIC, RECORDING = "synthetic", "recording"
COPIES = ("griffin-lim", "vocoder")

Wave: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Heard:
    """One sentence under one condition.

    Attributes:
        alignment: score per frame; None when the text could not be aligned.
        similarity: cosine to the centroid of the other recordings; None when no voice was found.
        file: the wave, relative to the report.
    """

    id: str
    text: str
    heard: str
    errors: Errors
    alignment: float | None
    similarity: float | None
    seconds: float
    file: str


@dataclass(frozen=True, slots=True)
class Summary:
    """One condition over all sentences.

    Attributes:
        wer: corpus level, as a share.
        alignment: mean, failed clips counted at `FAILED_ALIGNMENT`.
        failed: clips that could not be aligned.
        similarity: None when no clip had a voice.
    """

    wer: Estimate
    alignment: Estimate
    failed: int
    similarity: Estimate | None


class Judge:
    """Listens to clips of the held-out sentences; language model and centroid are of all of them.

    Args:
        held: all held-out utterances, however few of them are judged.
    """

    def __init__(self, held: Sequence[Utterance], speakers: SpeakerEncoder) -> None:
        self.recogniser = Recogniser(utterance.text for utterance in held)
        self.speakers = speakers
        self.voices = {
            u.id: speakers.embed(read_wave(u.media, sample_rate=SAMPLE_RATE), SAMPLE_RATE)
            for u in tqdm(held, desc="voices", unit="clip")
        }

    def hear(self, utterance: Utterance, wave: Wave, sample_rate: int, file: str) -> Heard:
        """Everything that is measured of one clip."""
        heard = soxr.resample(wave, sample_rate, SAMPLE_RATE, quality="HQ").astype(np.float32)
        found = self.recogniser.hear(heard)
        return Heard(
            id=utterance.id,
            text=utterance.text,
            heard=" ".join(found),
            errors=word_errors(words(utterance.text), found),
            alignment=alignment_score(heard, utterance.text),
            similarity=self._similarity(utterance.id, heard),
            seconds=len(wave) / sample_rate,
            file=file,
        )

    def _similarity(self, id: str, wave: Wave) -> float | None:
        centroid = np.sum([vector for other, vector in self.voices.items() if other != id], axis=0)
        try:
            return float(self.speakers.embed(wave, SAMPLE_RATE) @ centroid / np.linalg.norm(centroid))
        except BadPrompt:  # silence, or next to no sound, has no voice to measure
            return None


def summarise(clips: Sequence[Heard], seed: int) -> Summary:
    """Corpus-level figures with intervals over clips."""
    alignments = [FAILED_ALIGNMENT if clip.alignment is None else clip.alignment for clip in clips]
    similar = [clip.similarity for clip in clips if clip.similarity is not None]
    return Summary(
        wer=ratio_of_sums([c.errors.total for c in clips], [c.errors.reference_words for c in clips], seed=seed),
        alignment=ratio_of_sums(alignments, seed=seed),
        failed=sum(clip.alignment is None for clip in clips),
        similarity=ratio_of_sums(similar, seed=seed) if similar else None,
    )


def speak(dubber: Dubber, lines: Sequence[Utterance], prompt: Utterance, seed: int) -> Iterator[Wave]:
    """The sentences in the prompt's voice, at the model's own pace, without picture or library."""
    if prompt.id in {line.id for line in lines}:
        raise ValueError(f"expected a prompt that is no target, got {prompt.id}")
    voice = dubber.voice(CORPUS, prompt.media)
    for first in range(0, len(lines), BATCH):
        batch = [Line(u.id, CORPUS, u.text, 0.0, LONGEST_LINE) for u in lines[first : first + BATCH]]
        prepared = [dubber.prepare(line, voice, library=None, k=0, seed=seed) for line in batch]
        for take in dubber.speak(prepared):
            yield take.wave


def griffin_lim(wave: Wave, config: MelConfig) -> Wave:
    """A recording through its amplitude mel and back by non-negative least squares and 60 rounds of Griffin-Lim."""
    c = config
    mel = librosa.feature.melspectrogram(
        y=wave,
        sr=c.sample_rate,
        n_fft=c.n_fft,
        hop_length=c.hop_samples,
        power=1.0,
        n_mels=c.n_mels,
        fmin=c.f_min,
        fmax=c.f_max,
    )
    amplitude = librosa.feature.inverse.mel_to_stft(
        mel, sr=c.sample_rate, n_fft=c.n_fft, power=1.0, fmin=c.f_min, fmax=c.f_max
    )
    copy = librosa.griffinlim(amplitude, n_iter=60, hop_length=c.hop_samples, length=len(wave), random_state=0)
    return np.asarray(copy, dtype=np.float32)


@torch.inference_mode()
def vocoder_copy(wave: Wave, dubber: Dubber) -> Wave:
    """A recording's own mel through the checkpoint's vocoder: what a faultless acoustic model would sound like."""
    level = 10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-12)
    levelled = torch.from_numpy((wave * 10 ** ((TARGET_DBFS - level) / 20)).astype(np.float32))
    copy = dubber.vocoder(log_mel(levelled[None], dubber.mel_config).to(dubber.device))[0]
    return np.clip(copy.float().cpu().numpy(), -1, 1)


def waves_of(
    condition: str, held: Sequence[Utterance], dubber: Dubber | None, prompt: Utterance, seed: int
) -> Iterator[Wave]:
    """One wave per utterance, at the mel's rate."""
    config = dubber.mel_config if dubber is not None else MelConfig()
    if condition == SYNTHETIC:
        assert dubber is not None, condition
        yield from speak(dubber, held, prompt, seed)
        return
    for utterance in held:
        wave = read_wave(utterance.media, sample_rate=config.sample_rate)
        match condition:
            case "griffin-lim":
                yield griffin_lim(wave, config)
            case "vocoder":
                assert dubber is not None, condition
                yield vocoder_copy(wave, dubber)
            case _:
                yield wave


def judge_condition(
    condition: str, held: Sequence[Utterance], waves: Iterator[Wave], rate: int, judge: Judge, out: Path
) -> list[Heard]:
    """Write each wave and listen to it."""
    folder = out / condition
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    bar = tqdm(held, desc=condition, unit="clip")
    for utterance, wave in zip(bar, waves, strict=True):
        write_wave(folder / f"{utterance.id}.wav", wave, rate)
        clips.append(judge.hear(utterance, wave, rate, f"{condition}/{utterance.id}.wav"))
    return clips


def choose_prompt(utterances: Sequence[Utterance]) -> Utterance:
    """The fixed prompt, which a training may have seen and which is never a target.

    Raises:
        ValueError: it is missing, or held out.
    """
    found = next((u for u in training_part(utterances) if u.id == PROMPT), None)
    if found is None:
        raise ValueError(f"expected the prompt {CORPUS}/{PROMPT} among the training recordings, found none")
    return found


def bars(summary: Summary) -> dict[str, bool]:
    """Which bars hold."""
    return {
        f"WER <= {MAX_WER:.0%}": summary.wer.value <= MAX_WER,
        f"alignment >= {MIN_ALIGNMENT:.0f}": summary.alignment.value >= MIN_ALIGNMENT,
    }


def table(summaries: Mapping[str, Summary]) -> str:
    """Figures per condition, as text."""
    rows = [
        f"{'condition':12} {'n':>3}  {'WER %':22} {'alignment':26} {'failed':>6}  similarity (conditions the model)"
    ]
    for name, s in summaries.items():
        similarity = _interval(s.similarity, 3) if s.similarity else "not measured"
        wer = replace(s.wer, value=100 * s.wer.value, low=100 * s.wer.low, high=100 * s.wer.high)
        rows.append(
            f"{name:12} {s.wer.n:3}  {_interval(wer, 1):22} {_interval(s.alignment, 1):26} {s.failed:6}  {similarity}"
        )
    return "\n".join(rows)


def _interval(e: Estimate, digits: int) -> str:
    return f"{e.value:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]"


STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem;color:#1c1c22;background:#fff}"
    "table{border-collapse:collapse}td,th{padding:.35rem .7rem;border-bottom:1px solid #ddd;text-align:left;"
    "vertical-align:top}audio{width:15rem;height:2rem}.bad{color:#b3261e}small{color:#666}"
    "@media(prefers-color-scheme:dark){body{background:#16161a;color:#e8e8ee}td,th{border-color:#333}"
    ".bad{color:#ff8a80}small{color:#999}}"
)


def page(clips: Mapping[str, Sequence[Heard]], summaries: Mapping[str, Summary], about: Mapping[str, Any]) -> str:
    """The same as one page with players; waves lie beside it."""
    facts = "".join(f"<p><small>{escape(k)}: {escape(str(v))}</small></p>" for k, v in about.items())
    head = "".join(f"<th>{escape(name)}</th>" for name in clips)
    rows = []
    for heard in zip(*clips.values(), strict=True):
        cells = "".join(f"<td>{_cell(clip)}</td>" for clip in heard)
        rows.append(f"<tr><td>{escape(heard[0].text)}<br><small>{escape(heard[0].id)}</small></td>{cells}</tr>")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Intelligibility</title><style>{STYLE}</style>'
        f"<h1>Intelligibility</h1><pre>{escape(table(summaries))}</pre>{facts}"
        f"<table><tr><th>sentence</th>{head}</tr>{''.join(rows)}</table></html>\n"
    )


def _cell(clip: Heard) -> str:
    missed = ' class="bad"' if clip.errors.total else ""
    alignment = "not aligned" if clip.alignment is None else f"{clip.alignment:.1f}"
    similarity = "no voice" if clip.similarity is None else f"{clip.similarity:.3f}"
    return (
        f'<audio controls preload="none" src="{escape(clip.file)}"></audio><br>'
        f"<span{missed}>{escape(clip.heard) or '(nothing)'}</span><br>"
        f"<small>{clip.errors.total} of {clip.errors.reference_words} words, alignment {alignment}, "
        f"similarity {similarity}, {clip.seconds:.1f} s</small>"
    )


def write_report(
    out: Path, clips: Mapping[str, Sequence[Heard]], summaries: Mapping[str, Summary], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Both files, and what the JSON one holds."""
    values = {
        "about": dict(about),
        "summaries": {name: asdict(summary) for name, summary in summaries.items()},
        "clips": {name: [asdict(clip) for clip in found] for name, found in clips.items()},
    }
    with whole_file(out / "intelligibility.json") as temporary:
        temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with whole_file(out / "intelligibility.html") as temporary:
        temporary.write_text(page(clips, summaries, about), encoding="utf-8")
    return values


def run(options: argparse.Namespace) -> int:
    """All conditions, the report, and the exit status."""
    utterances = read_corpora(options.data, (CORPUS,))
    held, prompt = held_out_part(utterances), choose_prompt(utterances)
    chosen = held[: options.limit]
    dubber = None if options.recordings_only else Dubber.load(options.checkpoint, device=options.device)
    judge = Judge(held, dubber.speakers if dubber is not None else GE2E())
    conditions = [*([SYNTHETIC] if dubber is not None else []), RECORDING, *options.copies]
    rate = (dubber.mel_config if dubber is not None else MelConfig()).sample_rate
    clips = {}
    for condition in conditions:
        waves = waves_of(condition, chosen, dubber, prompt, options.seed)
        clips[condition] = judge_condition(condition, chosen, waves, rate, judge, options.out)
    summaries = {condition: summarise(found, options.seed) for condition, found in clips.items()}
    about: dict[str, Any] = {"prompt": f"{CORPUS}/{prompt.id}", "sentences": len(chosen), "seed": options.seed}
    if dubber is not None:
        about |= {"checkpoint": f"{dubber.card.name} {dubber.checkpoint}", "length": "the model's own rate, no picture"}
        about |= {"bars": bars(summaries[SYNTHETIC])}
    values = write_report(options.out, clips, summaries, about)
    if options.json:
        print(json.dumps(values, indent=1, ensure_ascii=False))
    else:
        print(table(summaries))
        for name, holds in about.get("bars", {}).items():
            print(f"{name}: {'holds' if holds else 'MISSED'}")
        print(options.out / "intelligibility.html")
    return 0 if all(about.get("bars", {}).values()) else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds kathleen/")
    parser.add_argument("--checkpoint", type=Path, help="folder with card.json; the packaged starter by default")
    parser.add_argument("--limit", type=int, help="only so many sentences, in order of id")
    parser.add_argument("--out", type=Path, default=Path("out/intelligibility"))
    parser.add_argument("--copies", nargs="+", choices=COPIES, default=[], help="copies of the recordings, beside them")
    parser.add_argument("--recordings-only", action="store_true", help="check the method; needs no checkpoint")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print what intelligibility.json holds")
    options = parser.parse_args()
    if options.limit is not None and options.limit < 1:
        parser.error(f"--limit: expected at least 1, got {options.limit}")
    if options.recordings_only and "vocoder" in options.copies:
        parser.error("--copies vocoder needs a checkpoint, so it does not go with --recordings-only")
    try:
        sys.exit(run(options))
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
