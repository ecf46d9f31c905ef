"""The shape of the house, proven from its sources: who may import whom, where heavy things live, and how big a file gets."""

from __future__ import annotations

import ast
import json
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
    "faiss": {"retrieval/index.py"},
    "lmdb": {"retrieval/store.py"},
    "torch_geometric": {"graphs/attention.py"},
    "av": {"library_builder/media.py", "library_builder/mux.py"},
    "espeakng_loader": {"authentic_dubber/espeak_worker.py"},  # GPL-3.0 stays behind the process border
    "resemblyzer": {"authentic_dubber/speaker.py"},
    "tokenizers": {"library_builder/sentence.py"},
    "transformers": {"library_builder/pretrained.py", "authentic_dubber/pretrained.py"},
}
"""A heavy or bounded module and the only files that may name it."""
ONLY_INSIDE_FUNCTIONS = {"resemblyzer", "transformers"}
HEAVY = ("torch", "cv2", "librosa", "faiss", "lmdb", "torch_geometric", "scipy", "av", "matplotlib", "espeakng_loader")
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
DRAWERS = {"util", "utils", "common", "core", "helper", "helpers", "misc", "shared"}
"""Names under which anything could be put, so that nothing is found again."""

LONGEST_FILE, LONGEST_FUNCTION, LONGEST_MEDIAN = 400, 50, 200

ROOMS = sorted(path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py"))
SOURCES = ROOMS + sorted((ROOT / "recipes").rglob("*.py"))
EVERYTHING = SOURCES + sorted((ROOT / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=name_of)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name.

    Attributes:
        name: absolute and dotted, down to the name itself: `vocoder.mel.MelConfig`.
        inside: written in a function.
    """

    name: str
    line: int
    inside: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


def imports(path: Path) -> list[Import]:
    """Every import in a file, wherever it is written."""
    return [Import(name, line, inside) for name, line, inside in _imports(tree_of(path), module_of(path), path, False)]


def _imports(node: ast.AST, module: str, path: Path, inside: bool) -> Iterator[tuple[str, int, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            base = package[: len(package) - child.level + 1] if child.level else []
            stem = [*base, child.module] if child.module else base
            yield from ((".".join([*stem, alias.name]), child.lineno, inside) for alias in child.names)
        elif isinstance(child, ast.Call) and _called(child)[-1:] in (["import_module"], ["__import__"]):
            if child.args and isinstance(child.args[0], ast.Constant):
                yield str(child.args[0].value), child.lineno, True
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, module, path, inside or function)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _called(call: ast.Call) -> list[str]:
    """`torch.hub.load(...)` to its names, left to right; empty for what is not a dotted name."""
    names, node = [], call.func
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


# Arrows.


@each(ROOMS)
def test_rooms_import_only_the_rooms_they_may(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    wrong = {i.name for i in imports(path) if i.top in {*MAY_IMPORT, "tests", "recipes"} - MAY_IMPORT[room] - {room}}
    assert not wrong, f"{room} may import {sorted(MAY_IMPORT[room]) or 'no other room'}"


def test_the_reader_of_imports_sees_every_way_to_write_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it overlooked one, the arrows above would prove nothing."""
    file = tmp_path / "room" / "sub" / "file.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import a.b as c, d\nfrom e.f import g\nfrom . import h\nfrom .i import j\nfrom ..k import l\n"
        "if True:\n    import m\ndef n():\n    import o\n    import_module('p')\nclass Q:\n    import r\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    seen = {i.name: i.inside for i in imports(file)}
    at_top = {"a.b", "d", "e.f.g", "room.sub.h", "room.sub.i.j", "room.k.l", "m", "r"}
    assert seen == {**dict.fromkeys(at_top, False), "o": True, "p": True}


@each(SOURCES)
def test_heavy_modules_are_named_only_at_home(path: Path) -> None:
    for one in imports(path):
        if one.top in HOMES:
            assert name_of(path) in HOMES[one.top], f"line {one.line}: {one.top} lives in {sorted(HOMES[one.top])}"
            assert one.inside or one.top not in ONLY_INSIDE_FUNCTIONS, f"line {one.line}: import {one.top} when needed"


@pytest.mark.parametrize("module", sorted(set(HOMES) - {"transformers"}))  # the door for it may not be built yet
def test_every_home_is_lived_in(module: str) -> None:
    """A home whose file was renamed would let its module in anywhere under the new name, unseen."""
    assert HOMES[module] == {name_of(path) for path in SOURCES if module in {i.top for i in imports(path)}}


def test_no_file_imports_itself_through_others() -> None:
    files = {module_of(path): path for path in ROOMS}
    wanted: dict[str, set[str]] = {}
    for module, path in files.items():
        named = [i.name for i in imports(path)]
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
        assert getattr(package, name).__module__.startswith(room + ".") or room == "library_builder"
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        package.nothing_of_this_name  # noqa: B018: asking is the test


WALK = """
import json, sys
import click, typer
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


@each(EVERYTHING)
def test_files_and_functions_are_read_in_one_go(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    long = {f.name: n for f in functions(path) if (n := (f.end_lineno or 0) - f.lineno + 1) > LONGEST_FUNCTION}
    assert not long, f"longer than {LONGEST_FUNCTION} lines: {long}"


def test_the_median_file_is_short() -> None:
    assert statistics.median(len(path.read_text(encoding="utf-8").splitlines()) for path in ROOMS) <= LONGEST_MEDIAN


def test_no_module_is_a_drawer_for_anything() -> None:
    assert [name_of(path) for path in SOURCES if DRAWERS & set(path.relative_to(ROOT).with_suffix("").parts)] == []


@each(ROOMS)
def test_public_functions_are_fully_annotated(path: Path) -> None:
    bare = [f"line {f.lineno}: {f.name}" for f in _public(tree_of(path)) if not _annotated(f)]
    assert bare == []


def _public(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in node.body:
        hidden = isinstance(child, ast.stmt) and getattr(child, "name", "_").startswith("_")
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if not hidden or child.name.endswith("__"):
                yield child
        elif isinstance(child, ast.ClassDef) and not hidden:
            yield from _public(child)


def _annotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    a = function.args
    given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    return function.returns is not None and all(one.annotation or one.arg in ("self", "cls") for one in given)


# Safety.


@each(SOURCES)
def test_nothing_unpickles(path: Path) -> None:
    assert not {i.name for i in imports(path) if i.top in PICKLERS}
    named = {i.name for i in imports(path)}
    assert not named & {"numpy.load", "torch.load", "torch.save"}, "call them by their module, so that they are seen"
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call):
            continue
        wanted = {"np.load": ("allow_pickle", False), "numpy.load": ("allow_pickle", False)}
        wanted |= {"torch.load": ("weights_only", True)}
        called = ".".join(_called(node))
        assert called not in ("torch.save", "torch.hub.load"), f"line {node.lineno}: {called} writes or runs pickles"
        assert not called.endswith("read_pickle"), f"line {node.lineno}"
        if called in wanted:
            key, value = wanted[called]
            given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            assert given.get(key) is value, f"line {node.lineno}: {called} needs {key}={value}"


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_the_generic_names_clash_with_nothing_installed(room: str) -> None:
    assert Path(str(__import__(room).__file__)).resolve().is_relative_to(ROOT)
    assert set(packages_distributions().get(room, [])) <= {"authentic-dubber"}
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    other = PathFinder.find_spec(room, elsewhere)
    assert other is None or other.origin is None or Path(other.origin).is_relative_to(ROOT), f"found in {other.origin}"
