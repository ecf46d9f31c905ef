"""`recipes/faces.py` on a drawn film and toy weights: what is counted, what is left out, and the sheet."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from library_builder.mux import write_video
from recipes.faces import Look, cell, files_of, main, summed
from tests.published_files import write_tfjs
from tests.test_face_networks import random_face_network
from tests.test_mtcnn import bright_mtcnn, save_mtcnn


def bright_film(path: Path, seconds: float = 1.0) -> Path:
    picture = np.zeros((80, 140, 3), dtype=np.uint8)
    picture[12:44, 88:120] = 255
    write_video(path, (picture for _ in range(round(25 * seconds))), 25)
    return path


def test_the_recipe_counts_faces_and_draws_a_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    films, models, out = tmp_path / "films", tmp_path / "models", tmp_path / "out"
    films.mkdir()
    (models / "mtcnn").mkdir(parents=True)
    bright_film(films / "a.mp4")
    bright_film(films / "b.mp4")
    (films / "broken.mp4").write_bytes(b"no film")
    save_mtcnn(models / "mtcnn", bright_mtcnn())
    write_tfjs(models / "face_api", "face_expression_model", random_face_network(7))
    given = ["faces.py", str(films), "--models", str(models), "--out", str(out), "--frames", "3", "--json"]
    monkeypatch.setattr(sys, "argv", given)
    main()
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert report == json.loads((out / "report.json").read_text())
    (group,) = report["groups"]
    assert (group["footage"], group["pictures"], group["files"]) == ("films", 6, 3)
    assert group["found"] == {"cascade": 0, "mtcnn": 6} and group["told"] == 6 and group["alike"] is None
    assert sum(group["expressions"]["face-api"].values()) == 6
    assert group["agreement"]["cascade + mtcnn"] == [0, None, 0]
    assert len(report["left_out"]) == 3 and "TinyFaceDetector" in told.err and "broken.mp4" in told.err
    sheet = cv2.imread(str(out / "sheet.png"))
    assert sheet is not None and sheet.shape[1] == 1440
    assert "sheet.png" in (out / "report.html").read_text() and "not measured" in (out / "report.html").read_text()


def test_agreement_is_of_pictures_in_which_both_find_a_face() -> None:
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    here, near, far = (np.array([x, 5.0, 20.0, 20.0]) for x in (5.0, 10.0, 35.0))
    looks = [
        Look(picture, {"one": here, "two": near}, {"m": ("happy", 0.9), "n": ("happy", 0.5)}),
        Look(picture, {"one": here, "two": far}, {"m": ("sad", 0.9), "n": ("happy", 0.5)}),
        Look(picture, {"one": here}, {}),
    ]
    group = summed("film", 1, looks, {"one": 1.0, "two": 2.0})
    assert group.found == {"one": 3, "two": 2} and (group.told, group.alike) == (2, 1)
    assert group.agreement == {"one + two": (2, 0.3, 1)}  # 15 of 25 columns shared: 0.6, and 0
    assert group.expressions == {"m": {"happy": 1, "sad": 1}, "n": {"happy": 2}}
    assert cell(looks[0]).shape == (160 + 34, 240, 3)


def test_files_are_chosen_evenly_and_their_absence_is_told(tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / f"{i}.mp4").touch()
    assert [path.stem for path in files_of(tmp_path, 3)] == ["0", "4", "8"]
    assert files_of(tmp_path / "3.mp4", 1) == [tmp_path / "3.mp4"]
    with pytest.raises(FileNotFoundError, match="expected footage"):
        files_of(tmp_path / "nowhere", 3)
