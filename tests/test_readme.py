"""The front door tells the truth: its commands exist with the options it names, its tree is the tree."""

from __future__ import annotations

import io
import re
import runpy
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from authentic_dubber.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = README + "".join(page.read_text(encoding="utf-8") for page in DOCS)
"""The README and every page of docs/: what any of them says to type is held to the same."""
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", PAGES, flags=re.DOTALL | re.MULTILINE)
ROWS = [line for line in PAGES.splitlines() if line.startswith("|")]


def in_row(row: str) -> set[str]:
    """The commands of a table's row: `EV` as the page says it is short for, and each of `list\\|fetch` by itself."""
    found = set()
    for told in re.findall(r"`((?:python recipes|dub |EV )[^`]+)`", row):
        stem, *others = re.sub(r"^EV ", "dub evaluate RUN --corpus CACHE --models MODELS ", told).split(r"\|")
        found |= {stem, *(f"{stem.rpartition(' ')[0]} {other}" for other in others)}
    return found


COMMANDS = sorted(
    {
        line.removeprefix("$ ").split("#")[0].strip()
        for block in BLOCKS
        for line in block.splitlines()
        if line.removeprefix("$ ").startswith(("dub ", "make ", "python recipes"))
    }
    | {command for row in ROWS for command in in_row(row)}
)


@cache
def help_of_dub(*verbs: str) -> str:
    done = CliRunner().invoke(app, [*verbs, "--help"])
    assert done.exit_code == 0, done.output
    return done.output


@cache
def help_of_recipe(path: str) -> str:
    """In this process, which has what recipes import; one after the other they would import it for a minute."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", [path, "--help"])
        patch.syspath_prepend(str((ROOT / path).parent))
        runpy.run_path(str(ROOT / path), run_name="__main__")
    assert ended.value.code in (0, None)
    return said.getvalue()


def test_the_readme_names_both_commands() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    assert {"dub", "test"} <= named <= targets


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("make ")])
def test_every_command_exists_with_its_options(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "python":
        text = help_of_recipe(words[1])
    else:
        inner = [word for word in words[1:3] if re.fullmatch(r"[a-z-]+", word)]
        verbs = inner[:2] if inner[0] in ("library", "models") or inner[:2] == ["sweep", "report"] else inner[:1]
        text = help_of_dub(*verbs)
    for option in (word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), f"{option} is not in the help of {command}"


def test_the_commands_of_every_block_are_found() -> None:
    """A block in another language must not turn the ones after it inside out."""
    assert len(BLOCKS) == PAGES.count("```") / 2 and len(COMMANDS) > 60


def test_the_quick_command_runs() -> None:
    """`dub doctor` is quick and needs nothing; the README's `make dub` is `dub demo`, which the Makefile says."""
    done = subprocess.run(
        [sys.executable, "-m", "authentic_dubber.launcher", "doctor", "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    assert done.stdout.lstrip().startswith(("{", "["))
    assert "dub demo" in (ROOT / "Makefile").read_text()


def test_the_tree_names_every_module() -> None:
    tree = README.split("## File tree")[1]
    packages = ("library_builder", "retrieval", "graphs", "vocoder", "authentic_dubber", "recipes")
    missing = [
        str(path.relative_to(ROOT))
        for package in packages
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__init__.py" and not re.search(rf"(?<!\w){re.escape(path.name)}\s", tree)
    ]
    assert missing == []


def anchors(page: Path) -> set[str]:
    """The headings of a page as a browser finds them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "MODEL_CARD.md", *DOCS], ids=lambda page: page.name)
def test_every_link_and_picture_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_page_is_found_from_the_readme_and_looks_as_the_others(page: Path) -> None:
    """A title, then a plain line on what the page is for; below it sections of one level."""
    assert f"](docs/{page.name})" in README.split("## File tree")[0]
    title, empty, about, *_ = page.read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ") and not empty and about[0].isalpha()
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"^#{1,6} ", prose, flags=re.MULTILINE).count("# ") == 1 and "\n### " not in prose


def test_every_picture_is_shown() -> None:
    shown = set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGES))
    assert {picture.name for picture in (ROOT / "docs").glob("*.png")} <= shown
