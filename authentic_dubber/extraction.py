"""Which extractors read footage, as a command line asks for them: loaded here, and by name in every worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from library_builder.build import BuildConfig
from library_builder.extractors import extractor_facts, licences

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from library_builder.pretrained.places import ModelPlaces
    from library_builder.readers import Readers

PAPER_FRAMES, PAPER_HEIGHT = 24, 448
"""What video language models are shown at most of a clip: more and larger pictures than a light reader looks at."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """What reads. It is sent to workers, who load the same.

    Attributes:
        names: such as `light`, `paper`, or `paper,audio=light-v2`.
        models: where `paper` extractors find their models.
        device, precision, batch: see `library_builder.readers.Models`.

    Raises:
        ValueError: models are given and no extractor among the names is made of one.
    """

    names: str = "light"
    models: Path | ModelPlaces | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    batch: int = 4

    def __post_init__(self) -> None:
        if self.models is not None and self.light:
            raise ValueError(f"expected extractors made of models beside --model-dir or --model, got {self.names!r}")

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

        places = self.models.absolute() if isinstance(self.models, Path) else self.models
        return build_readers(self.names, Models(places, self.device, self.precision, self.batch))

    def load(self) -> Readers:
        """The readers, ready to read; raises as `open`, and for damaged weights."""
        readers = self.open()
        readers.ready()
        return readers

    def config(self) -> BuildConfig:
        """How clips are looked at for these readers."""
        return BuildConfig() if self.light else BuildConfig(frames_per_clip=PAPER_FRAMES, max_height=PAPER_HEIGHT)


def add_reader_options(parser: ArgumentParser) -> None:
    """The options of a recipe that say what reads, as those of `dub library build`."""
    parser.add_argument("--extractors", default="light", help="as of dub library build: light, paper, ...")
    parser.add_argument("--model-dir", type=Path, help="models of paper extractors")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=DIR|HUB-ID[@REVISION]", help="one model from elsewhere"
    )
    parser.add_argument("--device", default="auto", help="where models compute: auto, cpu, cuda")


def chosen_extraction(given: Namespace) -> Extraction:
    """What those options say; raises ModelError for a `--model` that is not of its form."""
    from library_builder.pretrained.places import ModelPlaces

    return Extraction(given.extractors, ModelPlaces.of(given.model_dir, given.model), given.device)


def looked_at(spaces: Iterable[str]) -> BuildConfig:
    """How lines and clips are looked at by the readers of these spaces."""
    from library_builder.readers import needs_models

    pretrained = any(needs_models(space) for space in spaces)
    return BuildConfig(frames_per_clip=PAPER_FRAMES, max_height=PAPER_HEIGHT) if pretrained else BuildConfig()


def told(readers: Readers, *, lips: bool = False) -> list[str]:
    """What is said of readers before they read: licences of their models, and optional models that are missing."""
    return [*told_licences(readers), *(f"note: {one}" for one in told_absent(readers, lips=lips))]


def told_absent(readers: Readers, *, lips: bool) -> list[str]:
    """A line per optional model that was not found, and what is left out for it.

    Args:
        lips: whether mouths are read; a library's clips have none.
    """
    return [what for name, what in readers.absent.items() if lips or name != "lips"]


def told_licences(readers: Readers) -> list[str]:
    """A line per model that reads: its name, the beginning of its checksum, and its licence."""
    found: Mapping[str, str] = licences(extractor_facts(readers))
    return [f"model {name}: licence {licence}" for name, licence in found.items()]
