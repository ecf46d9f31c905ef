"""The constant answer: worked by hand, by scikit-learn, and on the published counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from authentic_dubber.evaluation.emotion import CLASSES, constant_baseline
from authentic_dubber.evaluation.measured import Measured, Row, estimate
from authentic_dubber.evaluation.table import cell_text, figure
from recipes import constant_baseline as recipe

RECIPE = Path(recipe.__file__)


def test_the_published_counts_give_the_published_constant() -> None:
    whole, test = recipe.published()
    assert "computed from published counts" in test.source
    assert (whole.clips, whole.hits, whole.answer) == (10_217, 4919, "neutral")
    assert (test.clips, test.hits, test.answer) == (2779, 1300, "neutral")
    assert f"{test.accuracy:.2f}" == "46.78" and test.balanced_accuracy == pytest.approx(12.5)


@pytest.mark.parametrize("labels", [["sad"] * 5 + ["happy"] * 3 + ["angry"] * 2, ["b", "a"] * 4])
def test_the_baseline_is_what_scikit_learn_scores(labels: list[str]) -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

    found = constant_baseline(labels)
    answers = [found.answer] * len(labels)
    assert found.plain == pytest.approx(accuracy_score(labels, answers))
    assert found.balanced == pytest.approx(balanced_accuracy_score(labels, answers))
    assert found.macro_f1 == pytest.approx(f1_score(labels, answers, average="macro", zero_division=0))


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_lists_of_every_kind_are_read(tmp_path: Path) -> None:
    wanted = {"sad": 2, "happy": 1}
    assert recipe.read_labels(written(tmp_path / "a.txt", "sad\nhappy\n\nsad\n")) == wanted
    assert recipe.read_labels(written(tmp_path / "a.csv", "id;emotion\na;sad\nb;happy\nc;sad\n")) == wanted
    assert recipe.read_labels(written(tmp_path / "a.tsv", "emotion\ttext\nsad\tx\nhappy\ty\nsad\tz\n")) == wanted
    by_clip = written(tmp_path / "emotions.json", json.dumps({"a": 5, "b": 3, "c": 5, "d": 4}))
    assert recipe.read_labels(by_clip) == {**wanted, "neutral": 1}
    ids = recipe.read_ids(written(tmp_path / "val.txt", "a|Film@Ada|{HH AH0}|Ha\nb|Film@Ben|{AH0}|A\n"))
    assert recipe.read_labels(by_clip, ids) == {"sad": 1, "happy": 1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.txt", "expected a list of labels, there is none"),
        (lambda folder: written(folder / "a.txt", "\n"), "expected labels, got none"),
        (lambda folder: written(folder / "a.csv", "id,label\na,sad\n"), "expected a column emotion, got id, label"),
        (lambda folder: written(folder / "a.json", "[9]"), "expected labels by name or as 0 to 7, got 9"),
    ],
)
def test_what_is_no_list_is_one_line(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        recipe.read_labels(make(tmp_path))


def test_a_clip_of_the_split_without_a_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a label for each of 2 clips, got none for \['b'\]"):
        recipe.read_labels(written(tmp_path / "e.json", '{"a": 1}'), {"a", "b"})


def test_the_command_says_so() -> None:
    done = subprocess.run([sys.executable, str(RECIPE)], capture_output=True, text=True, timeout=300, check=True)
    assert "always neutral: 1300 of 2779 right, accuracy 46.78 %" in done.stdout
    assert "47.21 %, 12 clips of 2779 above the constant answer" in done.stdout


@pytest.mark.parametrize("statistic", ["balanced", "macro_f1"])
def test_every_emotion_figure_is_printed_beside_its_sets_own_constant(statistic: str) -> None:
    """A reader that always says sad scores exactly the constant that stands beside it."""
    labels = ["sad"] * 6 + ["happy"] * 3 + ["angry"]
    said = CLASSES.index("sad")
    rows = {
        str(i): Row((float(label == "sad") if statistic == "balanced" else float(said),), label)
        for i, label in enumerate(labels)
    }
    measured = Measured("emotion", "", "share", "higher", statistic, rows, classes=CLASSES)  # type: ignore[arg-type]
    cell, found = figure(measured), estimate(measured)
    assert found is not None and cell.constant == pytest.approx(found.value)
    assert cell_text(cell).endswith(f"; the commonest class always: {found.value:.3f}")


def test_figures_of_another_kind_have_no_constant() -> None:
    cell = figure(Measured("wer", "", "%", "lower", "mean", {"a": Row((3.0,)), "b": Row((5.0,))}))
    assert cell.constant is None and "always" not in cell_text(cell)
