"""A dubbing checkpoint on disk: an acoustic model, a vocoder and a card that says what they saw.

card.json               name, licences, notice, steps, figures
acoustic/config.json    the whole `DubberConfig`
acoustic/model.safetensors
vocoder/config.json, vocoder/model.safetensors
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocoder.storage import load_strictly, read_config, read_tensors

from .symbols import INVENTORY_NAME, SYMBOL_COUNT

if TYPE_CHECKING:  # the model brings torch, and a mistaken argument is refused without it
    from library_builder.pretrained.places import ModelPlaces

    from .synthesizer import Synthesizer

STARTER, PERMISSIVE = "starter", "permissive"


@dataclass(frozen=True, slots=True)
class Card:
    """What a checkpoint is.

    Attributes:
        name: such as `starter`.
        licences: of the training data, strictest first.
        notice: one line for the user.
        weights: hash over all weight files.
        facts: steps, data, figures; whatever the trainer wrote down.
    """

    name: str
    licences: tuple[str, ...]
    notice: str
    weights: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def packaged_checkpoint(commercial_only: bool = False) -> Path:
    """Where a checkpoint that comes with the package lies.

    Args:
        commercial_only: the one whose recordings allow commercial use, instead of the starter.

    Raises:
        FileNotFoundError: commercial use is asked for, and the package comes without such a checkpoint.
    """
    folder = Path(str(files("authentic_dubber").joinpath("checkpoints", PERMISSIVE if commercial_only else STARTER)))
    if commercial_only and not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: expected a checkpoint for commercial use, this package comes without one; give your own"
        )
    return folder


def choose_checkpoint(
    folder: Path | None = None, *, commercial_only: bool = False, vocoder: Path | None = None
) -> Path:
    """The folder that was given, or the checkpoint of the package.

    Args:
        vocoder: what is to speak in place of the checkpoint's own.

    Raises:
        FileNotFoundError: commercial use is asked for, and there is no such checkpoint.
        ValueError: commercial use is asked for, and the checkpoint's licences forbid it, it names none, or another
            vocoder is to speak.
    """
    if not commercial_only:
        return folder or packaged_checkpoint()
    if vocoder is not None:
        raise ValueError(f"expected --commercial-only without a vocoder of unknown licence, got {vocoder}")
    chosen = folder or packaged_checkpoint(commercial_only=True)
    licences = read_card(chosen).licences
    forbidding = [licence for licence in licences if "-NC" in licence.upper()]
    if forbidding or not licences:
        raise ValueError(
            f"{chosen}: expected a checkpoint whose licences allow commercial use, "
            f"got {', '.join(forbidding) or 'one that names none'}"
        )
    return chosen


def read_card(folder: Path) -> Card:
    """The card of a checkpoint folder.

    Raises:
        FileNotFoundError: there is no card or no weights.
    """
    path = folder / "card.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected a checkpoint folder with card.json, acoustic/ and vocoder/")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    digest = hashlib.sha256()
    for part in ("acoustic", "vocoder"):
        weights = folder / part / "model.safetensors"
        if not weights.is_file():
            raise FileNotFoundError(f"{weights}: expected weights, found none")
        digest.update(weights.read_bytes())
        digest.update((folder / part / "config.json").read_bytes())
    return Card(
        values["name"], tuple(values["licences"]), values["notice"], digest.hexdigest()[:16], values.get("facts", {})
    )


def load_acoustic(folder: Path) -> Synthesizer:
    """An acoustic model in evaluation mode, in single precision.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the weights are not this config's, or the phone inventory is not this engine's.
    """
    from .config import DubberConfig
    from .synthesizer import Synthesizer

    config = DubberConfig.from_json(read_config(folder)["model"])
    if (config.symbols, config.symbol_count) != (INVENTORY_NAME, SYMBOL_COUNT):
        raise ValueError(
            f"{folder}: expected phone inventory {INVENTORY_NAME} of {SYMBOL_COUNT}, "
            f"got {config.symbols} of {config.symbol_count}"
        )
    model = Synthesizer(config)
    path = folder / "model.safetensors"
    load_strictly(model, read_tensors(path), str(path))
    return model.eval()


def resolve_device(device: str) -> str:
    """`auto` to what there is.

    Raises:
        ValueError: unknown device, or cuda asked for and absent.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"known devices are auto, cpu and cuda; got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch sees no CUDA device")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def check_parts(
    folder: Path | None, lexicon: Path | None = None, vocoder: Path | None = None, models: ModelPlaces | None = None
) -> None:
    """The part of `load_parts`' checks that needs no model, so that a slip of the pen is refused before one is loaded.

    Raises:
        FileNotFoundError: a file or folder is missing.
        ValueError: the card or the lexicon cannot be used, or there is no such folder of models.
    """
    from .text import Lexicon

    read_card(folder or packaged_checkpoint())
    if lexicon is not None:
        Lexicon.read(lexicon)
    if vocoder is not None and not vocoder.exists():
        raise FileNotFoundError(f"{vocoder}: expected the folder of a vocoder, or its file of weights, there is none")
    if models is not None:
        models.check()


def load_parts(
    folder: Path | None,
    device: str,
    lexicon: Path | None = None,
    vocoder: Path | None = None,
    models: Path | ModelPlaces | None = None,
) -> dict[str, Any]:
    """The constructor parts of `Dubber`, from a folder or from the package.

    Args:
        vocoder: another vocoder than the checkpoint's own, ours or a published one; see `vocoder.pretrained`.
        models: of the pretrained readers in whose spaces the checkpoint was trained.
    """
    from library_builder.readers import Models, readers_of
    from vocoder.checkpoint import load_generator

    from .espeak import Espeak
    from .speaker import GE2E
    from .text import Lexicon, TextFrontend

    folder = folder or packaged_checkpoint()
    card = read_card(folder)
    where = resolve_device(device)
    model = load_acoustic(folder / "acoustic")
    if vocoder is None:
        generator = load_generator(folder / "vocoder", model.config.mel)
    else:
        from vocoder.pretrained import load_vocoder

        generator, card = load_vocoder(vocoder, model.config.mel), _with_vocoder(card, vocoder)
    return {
        "model": model.to(where),
        "vocoder": generator.to(where),
        "frontend": TextFrontend(Espeak(), None if lexicon is None else Lexicon.read(lexicon)),
        "speakers": GE2E(),
        "readers": readers_of(model.config.spaces, model.config.lip_space, models=Models(models, where)),
        "card": card,
        "device": where,
    }


def _with_vocoder(card: Card, vocoder: Path) -> Card:
    """The card of a checkpoint that speaks through another vocoder: other weights, so other takes."""
    from vocoder.pretrained import digest_of

    digest = digest_of(vocoder)
    both = hashlib.sha256(f"{card.weights} {digest}".encode()).hexdigest()[:16]
    notice = f"{card.notice} Spoken through another vocoder, whose licence is its own ({vocoder.name})."
    return replace(
        card,
        weights=both,
        notice=notice.strip(),
        facts={**card.facts, "vocoder": {"name": vocoder.name, "sha256": digest}},
    )
