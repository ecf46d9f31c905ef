"""A line in, a take out: the parts joined. Constructors take parts, `Dubber.load` fetches them from a folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from library_builder.media import probe, read_wave
from library_builder.readers import Readers
from library_builder.types import QUERY_MODALITIES, Modality
from retrieval import Hit, Library, Retrieved
from vocoder import MelConfig, log_mel
from vocoder.generator import Generator, check_mel

from .acting import feeling_of, find_references
from .batching import collate_inputs
from .checkpoint import Card
from .context import line_graph
from .filling import SpokenLine, speak_lines
from .prompt import heard_prompt
from .slot import Look, look
from .speaker import SpeakerEncoder, usable_level
from .symbols import Symbols
from .synthesizer import Synthesizer
from .text import TextFrontend
from .timing import Fit
from .types import Acting, Line, Slot, Take, Timing, Voice

if TYPE_CHECKING:
    from library_builder.pretrained.places import ModelPlaces


@dataclass(frozen=True, slots=True)
class Prepared:
    """A line with everything known before it is spoken."""

    line: Line
    voice: Voice
    slot: Slot
    look: Look
    symbols: Symbols
    hits: Mapping[Modality, tuple[Hit, ...]]
    feeling: npt.NDArray[np.float32] | None
    """Shares of the taxonomy that were asked for, (E,); None leaves them to the director."""
    strength: float
    seed: int
    library: str | None
    fingerprint: str
    notes: tuple[str, ...]
    seconds: Mapping[str, float]


class Dubber:
    """Speaks lines over pictures.

    Args:
        model: the acoustic model, in evaluation mode.
        vocoder: mel to sound, for the same mel.
        frontend: text to symbols.
        speakers: prompt to speaker vector.
        readers: extractors whose spaces are the model's.
        card: what the checkpoint is and what it was trained on.

    Raises:
        ValueError: the vocoder inverts another mel, the readers live in other spaces, or the symbols differ.
    """

    def __init__(
        self,
        model: Synthesizer,
        vocoder: Generator,
        frontend: TextFrontend,
        speakers: SpeakerEncoder,
        readers: Readers,
        card: Card,
        *,
        device: str = "cpu",
    ) -> None:
        config = model.config
        check_mel(config.mel, vocoder.mel_config)
        for modality, space in config.spaces.items():
            got = getattr(readers, modality).space
            if got != space:
                raise ValueError(f"{modality}: the checkpoint was trained for space {space}, the reader gives {got}")
        if readers.lips.space != config.lip_space:
            raise ValueError(
                f"lips: the checkpoint was trained for {config.lip_space}, the reader gives {readers.lips.space}"
            )
        self.model, self.vocoder, self.frontend = model.eval(), vocoder, frontend
        self.speakers, self.readers, self.card, self.device = speakers, readers, card, device

    @classmethod
    def load(
        cls,
        folder: Path | None = None,
        *,
        device: str = "auto",
        lexicon: Path | None = None,
        vocoder: Path | None = None,
        models: Path | ModelPlaces | None = None,
    ) -> Dubber:
        """The checkpoint in a folder, or the starter that comes with the package.

        Args:
            lexicon: a file of pronunciations that override the engine's, see `text.Lexicon`.
            vocoder: speaks in place of the checkpoint's own, such as a published HiFi-GAN or BigVGAN.
            models: of the pretrained readers in whose spaces the checkpoint was trained, if it was.

        Raises:
            FileNotFoundError: there is no checkpoint, or no such vocoder.
            ValueError: the checkpoint contradicts itself or this version of the engine, the vocoder hears other mels,
                or the readers of its spaces are not among the models.
        """
        from .checkpoint import load_parts

        return cls(**load_parts(folder, device, lexicon, vocoder, models))

    @property
    def spaces(self) -> Mapping[str, str]:
        """The emotion space of each modality that the model was trained for."""
        return self.model.config.spaces

    @property
    def mel_config(self) -> MelConfig:
        return self.model.config.mel

    @property
    def licences(self) -> tuple[str, ...]:
        """Licences of the data the checkpoint was trained on."""
        return self.card.licences

    @property
    def checkpoint(self) -> str:
        """Hash of the checkpoint's weights."""
        return self.card.weights

    @property
    def notice(self) -> str:
        """One line on what may be done with what this checkpoint speaks."""
        return self.card.notice

    def voice(self, name: str, prompt: Path) -> Voice:
        """A character's voice from a recording of half a second or more, at any level and rate.

        Raises:
            BadPrompt: the recording is silent or too short.
            library_builder.media.MediaError: it cannot be read.
        """
        rate = self.mel_config.sample_rate
        wave = read_wave(prompt, sample_rate=rate)
        usable_level(wave, rate)  # silence and short prompts are refused before anything divides by their level
        heard, notes = heard_prompt(wave, probe(prompt), rate)
        mel = log_mel(torch.from_numpy(heard)[None], self.mel_config)[0].numpy()
        return Voice(name, mel, self.speakers.embed(heard, rate), hashlib.sha256(heard.tobytes()).hexdigest(), notes)

    def prepare(
        self,
        line: Line,
        voice: Voice,
        *,
        library: Library | None,
        k: int = 3,
        seed: int = 0,
        slot: Slot | None = None,
        seen: Look | None = None,
        acting: Acting | None = None,
    ) -> Prepared:
        """Read the picture, find the slot and ask the library; nothing is spoken yet.

        Args:
            library: None, like k = 0, skips retrieval.
            slot: forces a slot, for research; such takes say `oracle`.
            seen: what was read of the picture before; None reads it now.
            acting: what is asked of the line beyond that; None asks for nothing.

        Raises:
            UnspeakableText: the text has no speakable symbol.
            LineError: the cue lies outside the picture.
            ValueError: k < 0, the library lives in other emotion spaces, or acting asks for what is not there.
        """
        if k < 0:
            raise ValueError(f"expected k >= 0, got {k}")
        started, acting = time.perf_counter(), acting or Acting()
        feeling = feeling_of(acting, self.model, self.readers, device=self.device)
        symbols = self.frontend.symbols(line.text, line.language)
        seen = _seen(seen or look(line, self.readers), acting)
        looked = time.perf_counter()
        found, retrieved = self._references(seen, library, k, acting), time.perf_counter()
        version = library.version if library is not None and k > 0 else None
        used = seen.slot if slot is None else replace(slot, source="oracle")
        return Prepared(
            line=line,
            voice=voice,
            slot=used,
            look=seen,
            symbols=symbols,
            hits=found.hits,
            feeling=feeling,
            strength=acting.strength,
            seed=seed,
            library=version,
            fingerprint=self._fingerprint(symbols, voice, used, version, found.hits, seed, feeling, acting.strength),
            notes=(*voice.notes, *seen.notes, *found.notes),
            seconds={"picture": looked - started, "retrieval": retrieved - looked},
        )

    def _references(self, seen: Look, library: Library | None, k: int, acting: Acting) -> Retrieved:
        query = {m: seen.own[m] for m in QUERY_MODALITIES if m in seen.own}
        if library is None or k == 0 or not query:
            return Retrieved({}, ())
        library.check_spaces({m: s for m, s in self.spaces.items() if m in library.spaces})  # type: ignore[misc]
        return find_references(library, query, k, acting)

    def _fingerprint(
        self,
        symbols: Symbols,
        voice: Voice,
        slot: Slot,
        version: str | None,
        hits: Mapping[Modality, tuple[Hit, ...]],
        seed: int,
        feeling: npt.NDArray[np.float32] | None,
        strength: float,
    ) -> str:
        # Symbols, not letters: a pronunciation changed in the lexicon is another line.
        parts = [symbols.ids, round(slot.start, 4), round(slot.end, 4), slot.source, voice.prompt, version]
        parts += [[(m, hit.clip.id, round(hit.score, 6)) for hit in found] for m, found in sorted(hits.items())]
        parts += [None if feeling is None else [round(float(share), 6) for share in feeling], strength]
        return hashlib.sha256(json.dumps([*parts, seed, self.checkpoint]).encode()).hexdigest()

    @torch.inference_mode()
    def speak(self, prepared: Sequence[Prepared]) -> list[Take]:
        """Speak prepared lines, each as it would be alone.

        On a CPU, where a batch gains nothing, they are spoken one by one: a vocoder that adds up phase from a mel hears
        the sixth digit, in which matrix products of different sizes differ. On a GPU they are spoken together, and may
        differ from lines spoken alone by that digit.

        Shape:
            B lines -> B takes, in order.
        """
        size = 1 if self.device == "cpu" else max(1, len(prepared))
        parts = [prepared[start : start + size] for start in range(0, len(prepared), size)]
        return [take for part in parts for take in self._speak(part)]

    def _speak(self, prepared: Sequence[Prepared]) -> list[Take]:
        started = time.perf_counter()
        lines = self._mels(prepared)
        # Words that a mouth could not have said in its time were not what it was seen saying: the script knows better.
        short = [n for n, (p, line) in enumerate(zip(prepared, lines, strict=True)) if _too_short(p, line.fit)]
        if short:
            prepared, lines = list(prepared), list(lines)
            for n in short:
                prepared[n] = _over_cue(prepared[n])
            for n, line in zip(short, self._mels([prepared[n] for n in short]), strict=True):
                lines[n] = line
        mel_seconds = (time.perf_counter() - started) / len(prepared)
        return [self._take(p, spoken, mel_seconds) for p, spoken in zip(prepared, lines, strict=True)]

    def _mels(self, prepared: Sequence[Prepared]) -> list[SpokenLine]:
        inputs = collate_inputs(
            symbols=[p.symbols.ids for p in prepared],
            prompts=[p.voice.mel for p in prepared],
            speakers=[p.voice.speaker for p in prepared],
            lips=[p.look.lips for p in prepared],
            graphs=[line_graph(p.look.own, p.hits, self.spaces) for p in prepared],
            feelings=[p.feeling for p in prepared],
            strengths=[p.strength for p in prepared],
        ).to(self.device)
        slots = [self._frames(p.slot) for p in prepared]
        return speak_lines(self.model, inputs, [p.symbols for p in prepared], slots)

    def say(
        self,
        line: Line,
        voice: Voice,
        *,
        library: Library | None = None,
        k: int = 3,
        seed: int = 0,
        acting: Acting | None = None,
    ) -> Take:
        """One line, from picture to sound."""
        return self.speak([self.prepare(line, voice, library=library, k=k, seed=seed, acting=acting)])[0]

    def _frames(self, slot: Slot) -> int | None:
        return None if slot.source == "free" else max(1, self.mel_config.frames(slot.duration))

    def _take(self, p: Prepared, spoken: SpokenLine, mel_seconds: float) -> Take:
        started = time.perf_counter()
        wave: npt.NDArray[np.float32] = self.vocoder(spoken.mel[None])[0].float().cpu().numpy()
        seconds = {**p.seconds, "mel": mel_seconds, "vocoder": time.perf_counter() - started}
        config, fit = self.mel_config, spoken.fit
        needed = config.seconds(fit.natural_frames)
        least = needed / fit.rate  # or the most, where the slot is too long
        verdict = "" if fit.fits else f"needs {least:.1f} s, slot {p.slot.duration:.1f} s"
        ends = tuple(config.seconds(int(frames)) for frames in spoken.ends)
        judged = spoken.emotion.float().softmax(0).tolist()
        probabilities = judged if p.feeling is None else p.feeling.tolist()
        names = self.model.config.emotions
        slot = p.slot if p.slot.source != "free" else replace(p.slot, end=p.slot.start + ends[-1])
        return Take(
            line=p.line,
            slot=slot,
            wave=np.clip(wave, -1, 1),
            sample_rate=config.sample_rate,
            mel=spoken.mel.float().cpu().numpy(),
            timing=Timing(p.symbols.names, ends, needed / ends[-1], needed, verdict),
            hits=p.hits,
            captions=p.look.captions,
            lips=p.look.opening,
            emotion=dict(zip(names, probabilities, strict=True)),
            own=tuple(m for m in QUERY_MODALITIES if m in p.look.own),
            seed=p.seed,
            provenance={**self._provenance(p), "judged": dict(zip(names, judged, strict=True))},
            notes=p.notes,
            seconds=seconds,
        )

    def _provenance(self, p: Prepared) -> dict[str, Any]:
        return {
            "checkpoint": self.checkpoint,
            "checkpoint_name": self.card.name,
            "licences": list(self.licences),
            "library": p.library,
            "spaces": dict(self.spaces),
            "fingerprint": p.fingerprint,
            "feeling": "director" if p.feeling is None else "asked",
            "strength": p.strength,
        }


def _seen(seen: Look, acting: Acting) -> Look:
    return seen.over_cue() if acting.slot == "cue" else seen


def _too_short(p: Prepared, fit: Fit) -> bool:
    """Whether the mouth's slot cannot hold the words, and the script has another."""
    return p.slot.source == "mouth" and p.look.cue is not None and not fit.fits and fit.rate > 1


def _over_cue(p: Prepared) -> Prepared:
    note = f"slot: the mouth is seen moving for {p.slot.duration:.1f} s only, too short for the words; the cue is used"
    seen = p.look.over_cue(note)
    return replace(p, look=seen, slot=seen.slot, notes=(*p.notes, note))
