"""Which extractors read footage, as a command line asks for them: loaded here, and by name in every worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from library_builder.build import BuildConfig
from library_builder.extractors import extractor_facts, licences

if TYPE_CHECKING:
    from library_builder.readers import Readers

PAPER_FRAMES, PAPER_HEIGHT = 24, 448
"""What video language models are shown at most of a clip: more and larger pictures than a light reader looks at."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """What reads. It is sent to workers, who load the same.

    Attributes:
        names: such as `light`, `paper`, or `paper,audio=light-v2`.
        models: the folder that `paper` extractors find their models in.
        device, precision, batch: see `library_builder.readers.Models`.
    """

    names: str = "light"
    models: Path | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    batch: int = 4

    @property
    def light(self) -> bool:
        """Whether no model is needed."""
        return not any(name in self.names for name in ("paper", "face-api"))

    def open(self) -> Readers:
        """The readers, weights not loaded yet: enough to know what they are.

        Raises:
            ValueError: a name is unknown, or a model is missing or of another kind.
            ImportError: a package is missing.
        """
        from library_builder.readers import Models, build_readers

        folder = None if self.models is None else self.models.absolute()
        return build_readers(self.names, Models(folder, self.device, self.precision, self.batch))

    def load(self) -> Readers:
        """The readers, ready to read; raises as `open`, and for damaged weights."""
        readers = self.open()
        readers.ready()
        return readers

    def config(self) -> BuildConfig:
        """How clips are looked at for these readers."""
        return BuildConfig() if self.light else BuildConfig(frames_per_clip=PAPER_FRAMES, max_height=PAPER_HEIGHT)


def looked_at(readers: Readers) -> BuildConfig:
    """How lines are looked at by these readers: as the clips of a library that they read."""
    from library_builder.readers import needs_models

    pretrained = any(needs_models(space) for space in readers.spaces().values())
    return BuildConfig(frames_per_clip=PAPER_FRAMES, max_height=PAPER_HEIGHT) if pretrained else BuildConfig()


def told_licences(readers: Readers) -> list[str]:
    """A line per model that reads: its name, the beginning of its checksum, and its licence."""
    found: Mapping[str, str] = licences(extractor_facts(readers))
    return [f"model {name}: licence {licence}" for name, licence in found.items()]
