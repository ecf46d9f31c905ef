"""Models and tokenizers of transformers out of a folder: no network, no code of others, every tensor filled.

The library fills a tensor that a file lacks with random numbers and only warns; here that is an error.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import nn

from .source import ModelError, ModelSource, read_config

logger = logging.getLogger(__name__)
Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

Precision: TypeAlias = Literal["auto", "fp32", "bf16"]
Device: TypeAlias = str
"""`auto`, `cpu`, `cuda`, or a card such as `cuda:1`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model computes, and how exactly.

    Attributes:
        device: the processor.
        dtype: of its weights.
    """

    device: torch.device
    dtype: torch.dtype

    @property
    def precision(self) -> str:
        """As an option names it."""
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"

    def exact(self) -> Place:
        """The same device in single precision, for models that are small and whose vectors are compared."""
        return Place(self.device, torch.float32)


def choose_place(device: Device = "auto", precision: Precision = "auto") -> Place:
    """`auto` takes a GPU where there is one, and bfloat16 there.

    Raises:
        ValueError: the device is not known or not there, or the precision is unknown.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"expected a precision of auto, fp32 and bf16, got {precision!r}")
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        chosen = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"expected a device such as auto, cpu or cuda, got {device!r}") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"expected a GPU for device {device}, got none that torch can use (--device cpu)")
    half = precision == "bf16" or (precision == "auto" and chosen.type == "cuda")
    return Place(chosen, torch.bfloat16 if half else torch.float32)


def architecture(source: ModelSource, known: Mapping[str, str], what: str) -> str:
    """Which of the known architectures a model is.

    Args:
        known: name of the class in transformers by model type, as `config.json` gives it.
        what: is expected, for people.

    Raises:
        ModelError: none of them.
    """
    config = read_config(source)
    kind = str(config.get("model_type"))
    if kind not in known:
        raise ModelError(f"{source.folder}: expected {what} (model_type {', '.join(known)}), got {kind!r}")
    named = config.get("architectures") or [known[kind]]
    if known[kind] not in named:
        raise ModelError(f"{source.folder}: expected {what} ({known[kind]}), got {', '.join(map(str, named))}")
    return kind


def load_model(source: ModelSource, name: str, place: Place) -> Any:
    """A model, ready to answer.

    Args:
        name: of its class in transformers.

    Raises:
        ModelError: its files are not whole, or do not fill it.
        ImportError: transformers is not installed.
    """
    model_class = getattr(_transformers(), name)
    try:
        with _silent():
            model, told = model_class.from_pretrained(
                source.folder, local_files_only=True, dtype=place.dtype, output_loading_info=True
            )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{source.folder}: expected whole weights of {name}: {first}") from error
    missing = sorted(told["missing_keys"]) + [str(key[0]) for key in told.get("mismatched_keys", ())]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelError(
            f"{source.folder}: expected weights that fill {name}, got none for {', '.join(missing[:3])}{more}"
        )
    return quiet(model).to(place.device)


def quiet(model: nn.Module) -> nn.Module:
    """The model for answering only: no dropout, no gradients."""
    return model.eval().requires_grad_(False)


def in_batches(
    asked: Sequence[Asked], size: int, answer: Callable[[Sequence[Asked]], Sequence[Answered]], what: str, where: Place
) -> tuple[list[Answered], int]:
    """Every answer in order, and how many were asked for at once in the end: half as many whenever a GPU's memory ends.

    Args:
        size: asked for at once to begin with.
        what: is asked, in the plural, for messages: `"Qwen2-VL: shots"`.

    Raises:
        RuntimeError: a single one is too much for the GPU's memory.
    """
    answers: list[Answered] = []
    while len(answers) < len(asked):
        some = asked[len(answers) : len(answers) + size]
        try:
            answers += answer(some)
        except torch.OutOfMemoryError as error:
            if len(some) == 1:
                raise RuntimeError(
                    f"{what}: expected memory for one on {where.device}, it ran out: take fewer or smaller ones, or a "
                    "smaller model"
                ) from error
            size = len(some) // 2
        else:
            continue
        # Outside the handler: the exception holds the tensors that filled the memory.
        torch.cuda.empty_cache()
        logger.warning("%s: out of memory, going on with %d at once", what, size)
    return answers, size


def load_tokenizer(source: ModelSource) -> Any:
    """A model's tokenizer; a chat template that lies beside it in an older layout is taken along.

    Raises:
        ModelError: there is none.
        ImportError: transformers is not installed.
    """
    try:
        tokenizer = _transformers().AutoTokenizer.from_pretrained(
            source.folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{source.folder}: expected a tokenizer: {first}") from error
    apart = source.folder / "chat_template.json"
    if apart.is_file() and not tokenizer.chat_template:
        tokenizer.chat_template = json.loads(apart.read_text(encoding="utf-8"))["chat_template"]
    return tokenizer


def words_of(tokenizer: Any, tokens: Sequence[int]) -> str:
    """What tokens say, in one line, without marks and characters that nobody sees."""
    said = tokenizer.decode(tokens, skip_special_tokens=True)
    return " ".join("".join(one if one.isprintable() else " " for one in said).split())


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps the library from drawing bars over those of a command, and from telling of tensors, which are checked."""
    told = _transformers().utils.logging
    bars, level = told.is_progress_bar_enabled(), told.get_verbosity()
    told.disable_progress_bar()
    told.set_verbosity_error()
    try:
        yield
    finally:
        told.set_verbosity(level)
        if bars:
            told.enable_progress_bar()


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        cure = 'pip install "authentic-dubber[pretrained]"'
        raise ImportError(f"pretrained readers: expected transformers, which is not installed: {cure}") from error
    return transformers


class LazyModel:
    """A model and its tokenizer, whose weights wait until somebody asks for them.

    Args:
        kind: the class of transformers that it is.
    """

    def __init__(self, source: ModelSource, kind: str, place: Place) -> None:
        self.source, self.place, self._kind = source, place, kind
        self._model: Any = None
        self._tokenizer: Any = None

    def ready(self) -> None:
        """Load the weights now.

        Raises:
            ModelError: they are damaged, or not of this model.
            ImportError: transformers is not installed.
        """
        if self._model is None:
            self._tokenizer = load_tokenizer(self.source)
            self._model = load_model(self.source, self._kind, self.place)
            self._loaded()

    def _loaded(self) -> None:
        """What else is to be known once the weights are there."""
