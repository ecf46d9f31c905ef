"""Published weights that the engine can work with: what they are, where they come from and go to, and what they need.

None of them comes with the package, and none is needed: each stands behind a protocol that a light method of our own
keeps too. They lie in one folder, `DIR/<place>/`, as `--model-dir DIR` of a library build takes it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from library_builder.pretrained.source import SEAL

FOLDER_VARIABLE = "DUB_MODELS"
"""Names the folder of models where no option does."""
UNKNOWN = "unknown"
"""Beside a model's files: their checksums, see `model_seals`."""
OPTIONAL = ("*.json", "*.txt")
"""Patterns of files that are fetched where they are there: vocabularies and settings go by many names."""

Structure: TypeAlias = Literal["transformers", "vocoder", "torch", "shards", "onnx"]
"""What is inside: a transformers folder, a published vocoder, a file that torch reads, a file of ONNX."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One set of published weights.

    Attributes:
        name: as commands call it.
        source: the hub's `owner/model`, or where its authors publish it, as text.
        hub: whether `dub models fetch` can get it; the others have to be put in place by hand.
        files: that must be there, as patterns.
        licence: of the weights, as its authors state it; `unknown` where nothing that we have read says so.
        use: what it is for.
        place: its folder below the folder of models.
        structure: how it is looked over.
        kinds: values of `model_type` in its config that the engine's adapters take, for transformers.
        modules: what has to be installed.
        extra: of the package that brings those.
    """

    name: str
    source: str
    hub: bool
    files: tuple[str, ...]
    licence: str
    use: str
    place: str
    structure: Structure
    kinds: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    extra: str = ""


KNOWN: tuple[KnownModel, ...] = (
    KnownModel(
        "video-llm", "Qwen/Qwen2.5-VL-7B-Instruct", True, ("config.json", "*.safetensors", "*.json", "*.txt"),
        "Apache-2.0", "captions of scene and face", "video_llm", "transformers",
        ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "video_llama_3"), ("transformers",), "pretrained",
    ),
    KnownModel(
        "roberta", "j-hartmann/emotion-english-roberta-large", True,
        ("config.json", "model.safetensors", "*.json", "*.txt"), "none stated on its card",
        "emotion of captions and of lines, 1024 values", "roberta", "transformers",
        ("roberta",), ("transformers",), "pretrained",
    ),
    KnownModel(
        "comet", "mismayil/comet-bart-ai2", True, ("config.json", "pytorch_model.bin", "*.json", "*.txt"),
        "AFL-3.0", "reactions to a line, the other half of its vector; optional", "comet", "transformers",
        ("bart", "t5"), ("transformers",), "pretrained",
    ),
    KnownModel(
        "emotion2vec", "emotion2vec/emotion2vec_plus_large", True, ("config.yaml", "model.pt", "*.txt", "*.json"),
        "FunASR's model-license (not an open one; read it)", "emotion of a voice, 1024 values", "emotion2vec", "torch",
        (), ("funasr",), "emotion2vec",
    ),
    KnownModel(
        "lips", "github.com/mpc001/Lipreading_using_Temporal_Convolutional_Networks", False, ("*.pth*", "*.json"),
        UNKNOWN, "lip features, ResNet-18 and temporal convolutions, 512 values", "lips", "torch",
    ),
    KnownModel(
        "face_api", "github.com/justadudewhohacks/face-api.js", False,
        ("face_expression_model-weights_manifest.json", "tiny_face_detector_model-weights_manifest.json", "*-shard1"),
        "MIT", "a library's faces by their expression; faces in recipes", "face_api", "shards",
    ),
    KnownModel(
        "mtcnn", "github.com/timesler/facenet-pytorch", False, ("pnet.pt", "rnet.pt", "onet.pt"),
        "MIT", "faces, in recipes", "mtcnn", "torch",
    ),
    KnownModel(
        "ultraface", "github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB", False, ("*.onnx",),
        "MIT", "faces, in recipes", "ultraface", "onnx", (), ("onnxruntime",), "faces",
    ),
    KnownModel(
        "mini_xception", "github.com/oarriaga/face_classification", False, ("*.hdf5",),
        "MIT", "expressions, in recipes", "mini_xception", "onnx", (), ("h5py",), "faces",
    ),
    KnownModel(
        "bigvgan", "nvidia/bigvgan_v2_22khz_80band_fmax8k_256x", True, ("config.json", "bigvgan_generator.pt"),
        "MIT (its code; of the weights see the model card)", "vocoder of the published method", "bigvgan", "vocoder",
    ),
    KnownModel(
        "hifigan", "github.com/jik876/hifi-gan", False, ("config.json", "g*"),
        "MIT", "vocoder, V1 to V3", "hifigan", "vocoder",
    ),
    KnownModel(
        "whisper", "openai/whisper-base", True, ("config.json", "model.safetensors", "*.json", "*.txt"),
        UNKNOWN, "evaluation: words", "whisper", "transformers", ("whisper",), ("transformers",), "evaluate",
    ),
    KnownModel(
        "wavlm", "microsoft/wavlm-base-plus-sv", True, ("config.json", "pytorch_model.bin", "*.json"),
        UNKNOWN, "evaluation: whose voice it is", "wavlm", "transformers", ("wavlm",), ("transformers",), "evaluate",
    ),
    KnownModel(
        "dnsmos", "github.com/microsoft/DNS-Challenge", False, ("model_v8.onnx", "sig_bak_ovr.onnx"),
        "CC-BY-4.0", "evaluation: noise and quality", "dnsmos", "onnx", (), ("onnxruntime",), "evaluate",
    ),
    KnownModel(
        "nisqa", "github.com/gabrielmittag/NISQA", False, ("nisqa_tts.tar",),
        "CC-BY-NC-SA-4.0", "evaluation: naturalness", "nisqa", "torch",
    ),
)  # fmt: skip
"""VideoLLaMA 2, with which the method was published, has no adapter: transformers does not know its architecture."""


def known(name: str) -> KnownModel:
    """A model by its name, its place or its source.

    Raises:
        ValueError: none of these is known.
    """
    for model in KNOWN:
        if name in (model.name, model.place, model.source):
            return model
    raise ValueError(f"known models are {', '.join(model.name for model in KNOWN)}; got {name!r}")


def model_folder(given: Path | None = None) -> Path:
    """The folder of models: the one given, that of `DUB_MODELS`, or one in the user's cache."""
    if given is not None:
        return Path(given)
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "authentic-dubber" / "models"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands on this machine, told without importing or reading anything heavy.

    Attributes:
        folder: where its files belong.
        missing_files: patterns that nothing there fits; all of them where there is no folder.
        missing_modules: that are not installed.
        sealed: whether checksums were recorded.
    """

    model: KnownModel
    folder: Path
    missing_files: tuple[str, ...]
    missing_modules: tuple[str, ...]
    sealed: bool

    @property
    def usable(self) -> bool:
        return not (self.missing_files or self.missing_modules)

    @property
    def cure(self) -> str:
        """What makes it usable; empty where it is."""
        steps = []
        if self.missing_modules:
            steps.append(f'pip install "authentic-dubber[{self.model.extra}]"')
        if self.missing_files:
            steps.append(how_to_get(self.model, self.folder))
        return "; ".join(steps)


def how_to_get(model: KnownModel, folder: Path) -> str:
    """The one line on where a model comes from and goes to."""
    if model.hub:
        return f"dub models fetch {model.name}, or put the files of {model.source} into {folder}"
    return f"put {', '.join(model.files)} of {model.source} into {folder}"


def standing(model: KnownModel, models: Path) -> Standing:
    """How one model stands in a folder of models."""
    folder = models / model.place
    missing = missing_files(model, folder)
    absent = tuple(name for name in model.modules if find_spec(name) is None)
    return Standing(model, folder, missing, absent, (folder / SEAL).is_file())


def missing_files(model: KnownModel, folder: Path) -> tuple[str, ...]:
    """Patterns that no file of a folder fits; transformers reads weights of either kind, so one will do."""
    wanted = [pattern for pattern in model.files if pattern not in OPTIONAL]
    if model.structure == "transformers" and any(folder.glob("*.safetensors")):
        wanted = [pattern for pattern in wanted if not pattern.endswith((".bin", ".safetensors"))]
    return tuple(pattern for pattern in wanted if not any(folder.glob(pattern)))
