"""The shape of the house, proven by its sources: who may import whom, where heavy things live, how big a file gets."""

from __future__ import annotations

import ast
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT: dict[str, set[str]] = {
    "library_builder": set(),
    "retrieval": {"library_builder"},
    "graphs": set(),
    "vocoder": set(),
    "authentic_dubber": {"library_builder", "retrieval", "graphs", "vocoder"},
}
"""The arrows: a room and the rooms it may ask."""
HOMES: dict[str, set[str]] = {
    "faiss": {"retrieval/approximate.py", "retrieval/index.py"},
    "lmdb": {"retrieval/store.py"},
    "pymilvus": {"retrieval/milvus_server.py"},
    "torch_geometric": {"graphs/attention.py"},
    "av": {"library_builder/media.py", "library_builder/mux.py"},
    "espeakng_loader": {"authentic_dubber/espeak_worker.py"},  # GPL-3.0 stays behind the process border
    "ray": {"library_builder/ray_engine.py", "recipes/build_engines.py"},
    "resemblyzer": {"authentic_dubber/speaker.py"},
    "tokenizers": {"library_builder/sentence.py"},
    "transformers": {
        "library_builder/pretrained/loading.py",
        "authentic_dubber/evaluation/speaker_identity.py",
        "authentic_dubber/evaluation/whisper.py",
    },
    "huggingface_hub": {"authentic_dubber/model_seals.py", "library_builder/pretrained/source.py"},
    "onnxruntime": {"authentic_dubber/evaluation/dnsmos.py", "library_builder/pretrained/ultraface.py"},
    "h5py": {"library_builder/pretrained/mini_xception.py"},
    "funasr": {"library_builder/pretrained/emotion2vec.py"},
    "omegaconf": {"library_builder/pretrained/emotion2vec.py"},
    "yaml": {"library_builder/pretrained/emotion2vec.py"},
    "sklearn": {"authentic_dubber/evaluation/emotion.py", "authentic_dubber/evaluation/speaker_identity.py"},
}
"""A heavy or bounded module and the only files that may name it."""
ONLY_INSIDE_FUNCTIONS = {
    "funasr", "h5py", "huggingface_hub", "omegaconf", "onnxruntime", "pymilvus", "ray", "resemblyzer", "sklearn",
    "transformers", "yaml",
}  # fmt: skip
HEAVY = (
    "torch", "cv2", "librosa", "faiss", "lmdb", "torch_geometric", "scipy", "av", "matplotlib", "espeakng_loader",
    "onnxruntime", "pymilvus", "sklearn", "transformers",
)  # fmt: skip
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
DRAWERS = {"util", "utils", "common", "core", "helper", "helpers", "misc", "shared"}
"""Names under which anything could be put, so that nothing is found again."""

LONGEST_FILE, LONGEST_FUNCTION, LONGEST_MEDIAN = 400, 50, 200

ROOMS = sorted(path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py"))
SOURCES = ROOMS + sorted((ROOT / "recipes").rglob("*.py"))
EVERYTHING = SOURCES + sorted((ROOT / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name.

    Attributes:
        name: absolute and dotted, down to the name itself: `vocoder.mel.MelConfig`.
        inside: written in a function, or for the type checker alone.
    """

    name: str
    line: int
    inside: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Every import in a file, wherever it is written."""
    package = module_of(path).split(".")
    return tuple(_imports(tree_of(path), package if path.name == "__init__.py" else package[:-1], inside=False))


def _imports(node: ast.AST, package: list[str], *, inside: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names):
                yield from (Import(alias.name, child.lineno, inside) for alias in names)
            case ast.ImportFrom(module, names, level):
                base = package[: len(package) - (level or 0) + 1] if level else []
                stem = [*base, module] if module else base
                yield from (Import(".".join([*stem, alias.name]), child.lineno, inside) for alias in names)
            case ast.Call(args=[ast.Constant(str(name)), *_]) if called(child).endswith(
                ("import_module", "__import__")
            ):
                yield Import(name, child.lineno, True)
        late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        late |= isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        yield from _imports(child, package, inside=inside or late)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def called(call: ast.Call) -> str:
    """`torch.hub.load` of `torch.hub.load(...)`; empty for what is not a dotted name."""
    names, node = [], call.func
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


# Arrows.


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_rooms_import_only_the_rooms_they_may(room: str) -> None:
    strangers = {*MAY_IMPORT, "tests", "recipes"} - MAY_IMPORT[room] - {room}
    files = [path for path in ROOMS if path.relative_to(ROOT).parts[0] == room]
    assert [f"{name_of(path)}:{i.line}: {i.name}" for path in files for i in imports(path) if i.top in strangers] == []


def test_the_reader_of_imports_sees_every_way_to_write_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it overlooked one, the arrows above would prove nothing."""
    file = tmp_path / "room" / "sub" / "file.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import a.b as c, d\nfrom e.f import g\nfrom . import h\nfrom .i import j\nfrom ..k import l\n"
        "if True:\n    import m\nif TYPE_CHECKING:\n    import s\n"
        "def n():\n    import o\n    import_module('p')\nclass Q:\n    import r\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    seen = {i.name: i.inside for i in imports(file)}
    at_top = {"a.b", "d", "e.f.g", "room.sub.h", "room.sub.i.j", "room.k.l", "m", "r"}
    assert seen == {**dict.fromkeys(at_top, False), "s": True, "o": True, "p": True}


def test_heavy_modules_are_named_only_at_home() -> None:
    named = [(path, one) for path in SOURCES for one in imports(path) if one.top in HOMES]
    assert [f"{name_of(p)}:{i.line}: {i.top}" for p, i in named if name_of(p) not in HOMES[i.top]] == []
    early = [f"{name_of(p)}:{i.line}: {i.top}" for p, i in named if i.top in ONLY_INSIDE_FUNCTIONS and not i.inside]
    assert early == [], "imported by a function, when it is needed"


@pytest.mark.parametrize("module", sorted(set(HOMES) - {"transformers"}))  # the door for it may not be built yet
def test_every_home_is_lived_in(module: str) -> None:
    """A home whose file was renamed would let its module in anywhere under the new name, unseen."""
    assert HOMES[module] == {name_of(path) for path in SOURCES if module in {i.top for i in imports(path)}}


@pytest.mark.parametrize("late", [False, True], ids=["at the top", "and inside functions"])
def test_no_file_imports_itself_through_others(late: bool) -> None:
    """A late import hides a cycle from Python, but not from whoever has to understand the two files apart."""
    files = {module_of(path): path for path in ROOMS}
    wanted: dict[str, set[str]] = {}
    for module, path in files.items():
        named = [i.name for i in imports(path) if late or not i.inside]
        # `from vocoder import MelConfig` names no file but the package's own.
        found = {name if name in files else name.rpartition(".")[0] for name in named}
        wanted[module] = {name for name in found if name in files and name != module}
    try:
        tuple(TopologicalSorter(wanted).static_order())
    except CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))


# Quick starts.


def test_importing_every_package_loads_nothing_heavy() -> None:
    modules = [*MAY_IMPORT, *(module_of(path) for path in ROOMS if path.name in ("types.py", "__init__.py"))]
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_what_a_package_offers_is_there_and_nothing_else(room: str) -> None:
    package = __import__(room)
    for name in getattr(package, "__all__", ()):
        home = getattr(getattr(package, name), "__module__", room)  # a constant has none
        assert home.partition(".")[0] == room or name in ("Seconds", "Modality"), f"{name} comes from {home}"
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = package.nothing_of_this_name


WALK = """
import json, sys
import typer
from authentic_dubber.cli import app

def walk(command, path):
    yield path
    for name, sub in getattr(command, "commands", {}).items():
        yield from walk(sub, [*path, name])

report = {}
for path in walk(typer.main.get_command(app), []):
    try:
        app([*path, "--help"], standalone_mode=False)
    except SystemExit as end:
        assert not end.code, (path, end.code)
    report[" ".join(path)] = [m for m in HEAVY if m in sys.modules]
print("REPORT" + json.dumps(report))
"""


def test_help_of_every_command_starts_without_anything_heavy() -> None:
    done = run("-c", f"HEAVY = {HEAVY}\n{WALK}")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.rpartition("REPORT")[2])
    assert {"", "say", "library"} <= set(report)
    assert {path: heavy for path, heavy in report.items() if heavy} == {}


def test_dub_help_works_where_torch_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole program, with heavy modules that break when they are touched."""
    for module in HEAVY:
        (tmp_path / f"{module}.py").write_text("raise ImportError('touched')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run("-m", "authentic_dubber.launcher", "--help")
    assert done.returncode == 0, done.stderr
    assert "library" in done.stdout


# Sizes and names.


def test_files_are_read_in_one_sitting() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in EVERYTHING}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_are_seen_at_one_glance() -> None:
    lengths = {
        f"{name_of(path)}:{function.lineno}: {function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in EVERYTHING
        for function in ast.walk(tree_of(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_the_median_file_is_short() -> None:
    assert statistics.median(len(path.read_text(encoding="utf-8").splitlines()) for path in ROOMS) <= LONGEST_MEDIAN


def test_no_module_is_a_drawer_for_anything() -> None:
    assert [name_of(path) for path in SOURCES if DRAWERS & set(path.relative_to(ROOT).with_suffix("").parts)] == []


def test_public_functions_are_fully_annotated() -> None:
    public = [(path, function) for path in ROOMS for function in _public(tree_of(path))]
    assert len(public) > 100, "the reader below overlooks them"
    assert [f"{name_of(path)}:{f.lineno}: {f.name}" for path, f in public if not _annotated(f)] == []


def _public(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _public(child)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not re.match(r"_(?!_)", child.name):
            yield child


def _annotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    a = function.args
    given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    return function.returns is not None and all(one.annotation or one.arg in ("self", "cls") for one in given)


# Safety.


SAFE_WITH = {"np.load": "allow_pickle=False", "numpy.load": "allow_pickle=False", "torch.load": "weights_only=True"}
HIDDEN_LOADS = {"numpy.load", "torch.load", "torch.save", "torch.hub.load"}
"""Imported by name they would be called without their module, and the reader below could not tell which load it is."""


def test_nothing_is_pickled_or_unpickled() -> None:
    assert [
        (name_of(p), i.line) for p in SOURCES for i in imports(p) if {i.top, i.name} & (PICKLERS | HIDDEN_LOADS)
    ] == []
    calls = [(path, node) for path in SOURCES for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    assert any(called(call) == "np.load" for _, call in calls), "the reader of calls sees none"
    assert [f"{name_of(path)}:{call.lineno}" for path, call in calls if not _safe(call)] == []


def _safe(call: ast.Call) -> bool:
    name = called(call)
    if name in ("torch.save", "torch.hub.load") or name.endswith(("read_pickle", "to_pickle")):
        return False
    return name not in SAFE_WITH or SAFE_WITH[name] in [ast.unparse(keyword) for keyword in call.keywords]


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_the_generic_names_clash_with_nothing_installed(room: str) -> None:
    assert Path(str(__import__(room).__file__)).resolve().is_relative_to(ROOT)
    assert set(packages_distributions().get(room, [])) <= {"authentic-dubber"}
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    other = PathFinder.find_spec(room, elsewhere)
    assert other is None or other.origin is None or Path(other.origin).is_relative_to(ROOT), f"found in {other.origin}"
