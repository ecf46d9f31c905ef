"""Packs: what comes back is what went in, where it was; what is broken, foreign or held out does not come through."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from scipy import signal
from typer.testing import CliRunner

from authentic_dubber.cli import app
from authentic_dubber.training import heldout, strips
from authentic_dubber.training.cache import Cache, save_index, save_rows
from authentic_dubber.training.pack import PackConfig, pack, rounded
from authentic_dubber.training.unpack import unpack
from library_builder.checksum import file_digest
from library_builder.media import read_wave
from vocoder import MelConfig, log_mel

RATE = 22050
HELD_OUT = ("u03", "u10")


def speech_like(samples: int, seed: int) -> npt.NDArray[np.int16]:
    """Gliding harmonics through two resonances, in syllables, and a little breath: what Opus is made for."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    pitch = rng.uniform(100, 220) * (1 + 0.2 * np.sin(2 * np.pi * 2 * time))
    pulses = signal.sawtooth(2 * np.pi * np.cumsum(pitch) / RATE)
    for resonance in (rng.uniform(400, 800), rng.uniform(1200, 2200)):
        pulses = signal.lfilter(*signal.iirpeak(resonance, 4, fs=RATE), pulses)
    sound = pulses / np.abs(pulses).max() * np.sin(np.pi * 4 * time) ** 2 + 0.002 * rng.standard_normal(samples)
    return np.asarray(np.rint(sound * 12000), dtype=np.int16)


WAVE = speech_like(2 * RATE, 1).astype(np.float32) / 32768


def lag(before: npt.NDArray[Any], now: npt.NDArray[Any]) -> int:
    """Samples by which `now` is late."""
    return int(np.argmax(signal.correlate(now, before, mode="full", method="fft"))) - (len(before) - 1)


@pytest.fixture
def corpus(tiny_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A made-up corpus that sounds like speech, with two held-out recordings, in strips of a few recordings each."""
    monkeypatch.setattr(heldout, "_rules", lambda: {"toy": {"ids": frozenset(HELD_OUT)}})
    monkeypatch.setattr(strips, "LONGEST", 2.0)
    cache = Cache(tiny_cache)
    waves = [speech_like(entry.samples, i) for i, entry in enumerate(cache.entries)]
    np.concatenate(waves).tofile(tiny_cache / "waves.i16")
    save_rows(tiny_cache, "film", np.arange(24, dtype=np.int8))
    (tiny_cache / "prepare.json").write_text("{}")
    return Cache(tiny_cache)


def there_and_back(cache: Cache, tmp_path: Path, config: PackConfig | None = None) -> Cache:
    pack(cache.folder, tmp_path / "pack", config)
    return unpack(tmp_path / "pack", tmp_path / "back")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest as someone with bad intent would."""
    path = folder / "pack.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def rewrite_index(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change an index, with the hash to match."""
    path = folder / "index.json.xz"
    index = json.loads(lzma.decompress(path.read_bytes()))
    change(index)
    path.write_bytes(lzma.compress(json.dumps(index).encode()))
    rewrite(folder, lambda manifest: manifest["sha256"].update({"index.json.xz": file_digest(path)}))


# There and back.


def test_all_but_sound_and_lips_comes_back_to_the_last_bit(corpus: Cache, tmp_path: Path) -> None:
    back = there_and_back(corpus, tmp_path, PackConfig(held_out=True))
    assert back.entries == corpus.entries and back.sample_rate == corpus.sample_rate
    for name in ("speaker", "film", "own_scene", "own_face", "own_text", "own_audio", "hits_face", "scores_text"):
        np.testing.assert_array_equal(back.rows(name), corpus.rows(name), strict=True)
    for name in ("symbols", "durations", "pitch"):
        now, before = back.ragged(name), corpus.ragged(name)
        np.testing.assert_array_equal(now.values, before.values, strict=True)
        np.testing.assert_array_equal(now.offsets, before.offsets, strict=True)
    assert (back.folder / "prepare.json").read_text() == "{}"


def test_lips_come_back_within_half_a_step(corpus: Cache, tmp_path: Path) -> None:
    back, before = there_and_back(corpus, tmp_path, PackConfig(held_out=True)).ragged("lips"), corpus.ragged("lips")
    np.testing.assert_array_equal(back.offsets, before.offsets)
    assert back.values.dtype == before.values.dtype
    values = before.values.astype(np.float64)
    # One step is the largest magnitude of a column over 127; half precision rounds both what a step is worth and what
    # comes back, by one part in 2048 each.
    largest = np.abs(values).max(axis=0)
    assert (np.abs(back.values - values) <= largest / 254 + largest * 2 / 2048).all()


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_what_no_step_can_hold_is_refused(strange: float) -> None:
    with pytest.raises(ValueError, match="expected finite"):
        rounded(np.array([[1.0, strange]], dtype=np.float16))


def test_an_empty_or_silent_column_comes_back_silent() -> None:
    steps, scales = rounded(np.zeros((3, 2), dtype=np.float16))
    assert not steps.any() and np.isfinite(scales).all()
    assert rounded(np.zeros((0, 2), dtype=np.float16))[0].shape == (2, 0)


def test_waves_come_back_where_they_were(corpus: Cache, tmp_path: Path) -> None:
    """Every recording, so also those behind many others in their strip, where a drift would show."""
    back = there_and_back(corpus, tmp_path, PackConfig(held_out=True))
    assert len(json.loads((tmp_path / "pack" / "pack.json").read_text())["strips"]) > 3
    ratios = []
    for i in range(len(corpus.entries)):
        before, now = corpus.wave(i).astype(np.float64), back.wave(i).astype(np.float64)
        assert now.shape == before.shape
        assert abs(lag(before, now)) <= 1, corpus.entries[i].id
        ratios.append(10 * np.log10(np.sum(before**2) / np.sum((now - before) ** 2)))
    assert min(ratios) > 10  # coded speech has 13 dB and more at this rate, sound in another place about -3


def test_another_decoder_finds_the_sound_in_the_same_place(tmp_path: Path) -> None:
    """libsndfile against FFmpeg: if either forgot the pre-skip, 6.5 ms, they would disagree by 143 samples.

    Two is what they may: below 24 kHz the standard leaves the last resampling, and so its delay, to the decoder.
    """
    strips.write_strip(tmp_path / "one.opus", [WAVE], RATE, 20)
    own, rate = soundfile.read(tmp_path / "one.opus", dtype="float32")
    expected = soxr.resample(own, rate, RATE, quality="HQ")
    got = read_wave(tmp_path / "one.opus", sample_rate=RATE)
    assert abs(len(got) - len(expected)) <= 1
    assert abs(lag(expected, got)) <= 2


def test_mels_are_those_of_the_unpacked_sound(corpus: Cache, tmp_path: Path) -> None:
    import torch

    assert "mel" not in pack(corpus.folder, tmp_path / "pack").megabytes
    back = unpack(tmp_path / "pack", tmp_path / "back")
    wanted = log_mel(torch.from_numpy(back.wave(4))[None], MelConfig())[0].T.numpy()
    np.testing.assert_allclose(back.ragged("mel")[4], wanted, atol=0.01)  # half precision near -11.5


def test_a_higher_rate_is_larger_and_truer(tmp_path: Path) -> None:
    errors, sizes = [], []
    for kbps in (10, 20, 64):
        path = tmp_path / f"{kbps}.opus"
        strips.write_strip(path, [WAVE], RATE, kbps)
        (now,) = strips.read_strip(path, [len(WAVE)], RATE)
        errors.append(float(np.sum((now - WAVE) ** 2)))
        sizes.append(path.stat().st_size)
    assert errors == sorted(errors, reverse=True) and sizes == sorted(sizes)
    # Variable bit rate: twenty thousand bits a second on average over real speech, far from exact over two seconds.
    assert sizes[1] * 8 / 2 == pytest.approx(20_000, rel=0.4)
    with pytest.raises(ValueError, match="got 3"):
        strips.write_strip(tmp_path / "x.opus", [WAVE], RATE, 3)


# What stays behind.


def test_held_out_recordings_stay_behind_unless_asked_for(corpus: Cache, tmp_path: Path) -> None:
    made = pack(corpus.folder, tmp_path / "pack")
    assert (made.recordings, made.left_out) == (22, 2)
    back = unpack(tmp_path / "pack", tmp_path / "back")
    assert [entry.id for entry in back.entries] == [e.id for e in corpus.entries if e.id not in HELD_OUT]
    assert back.held_out_rows() == [] and back.training_rows() == list(range(22))
    for new, old in enumerate(corpus.training_rows()):
        np.testing.assert_array_equal(back.rows("speaker")[new], corpus.rows("speaker")[old])
        np.testing.assert_array_equal(back.ragged("symbols")[new], corpus.ragged("symbols")[old])
        assert back.entries[new].samples == len(back.wave(new)) == len(corpus.wave(old))


def test_hits_point_at_the_same_recordings_and_nowhere_at_left_out_ones(corpus: Cache, tmp_path: Path) -> None:
    found = np.array(corpus.rows("hits_face"))
    found[5, 7:] = -1  # a line that found fewer
    save_rows(corpus.folder, "hits_face", found)
    made = pack(corpus.folder, tmp_path / "pack")
    back = unpack(tmp_path / "pack", tmp_path / "back")
    lost = 0
    for modality in ("scene", "face", "text"):
        hits, scores = back.rows(f"hits_{modality}"), back.rows(f"scores_{modality}")
        for new, old in enumerate(corpus.training_rows()):
            for place, hit in enumerate(corpus.rows(f"hits_{modality}")[old]):
                wanted = corpus.entries[hit].id if hit >= 0 else None
                if wanted is None or wanted in HELD_OUT:
                    assert hits[new, place] == -1 and scores[new, place] == 0
                    lost += wanted is not None
                else:
                    assert back.entries[hits[new, place]].id == wanted
                    assert scores[new, place] == corpus.rows(f"scores_{modality}")[old, place]
    assert made.lost_hits == lost > 0


def test_a_pack_names_its_licences_and_no_folder_of_the_machine(corpus: Cache, tmp_path: Path) -> None:
    from dataclasses import replace

    entries = [replace(entry, media=f"/elsewhere/{entry.id}.wav") for entry in corpus.entries]
    save_index(corpus.folder, RATE, entries)
    back = there_and_back(corpus, tmp_path)
    assert {entry.licence for entry in back.entries} == {"CC0-1.0"} and back.entries[0].media == "toy/u00.wav"
    assert json.loads((tmp_path / "pack" / "pack.json").read_text())["licences"] == {"CC0-1.0": ["toy"]}


def test_parts_are_counted_whole(corpus: Cache, tmp_path: Path) -> None:
    made = pack(corpus.folder, tmp_path / "pack")
    files = [path for path in (tmp_path / "pack").rglob("*") if path.is_file() and path.name != "pack.json"]
    assert made.total == pytest.approx(sum(path.stat().st_size for path in files) / 1e6)
    assert {"sound", "lips", "index", "hits_scene"} <= set(made.megabytes)


def test_a_pack_over_the_limit_says_so(corpus: Cache, tmp_path: Path) -> None:
    run = ["pack", str(corpus.folder), str(tmp_path / "pack"), "--limit-mb"]
    small, large = (CliRunner().invoke(app, [*run, limit]) for limit in ("60", "0.001"))
    assert small.exit_code == large.exit_code == 0
    assert "22 recordings" in small.stdout and "2 held out and left out" in small.stdout
    assert "over the limit of 0.001 MB" in large.output and "over the limit" not in small.output
    back = CliRunner().invoke(app, ["unpack", str(tmp_path / "pack"), str(tmp_path / "back")])
    assert back.exit_code == 0 and "22 of them for training" in back.stdout


# What is refused.


def test_one_flipped_bit_is_named(corpus: Cache, tmp_path: Path) -> None:
    pack(corpus.folder, tmp_path / "pack")
    files = [path for path in sorted((tmp_path / "pack").rglob("*")) if path.is_file() and path.name != "pack.json"]
    for path in files:
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(ValueError, match=f"{path.name}: expected the file that was packed"):
            unpack(tmp_path / "pack", tmp_path / "back")
        path.write_bytes(good)
    files[0].unlink()
    with pytest.raises(FileNotFoundError, match=files[0].name):
        unpack(tmp_path / "pack", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_paths_that_leave_the_pack_are_refused(corpus: Cache, tmp_path: Path) -> None:
    pack(corpus.folder, tmp_path / "pack")
    (tmp_path / "outside").write_text("x")
    digest, manifest = file_digest(tmp_path / "outside"), (tmp_path / "pack" / "pack.json").read_text()
    for name in ("../outside", str(tmp_path / "outside"), "sound/../../outside", "C:/x", "a\\b"):
        (tmp_path / "pack" / "pack.json").write_text(manifest)
        rewrite(tmp_path / "pack", lambda m, name=name: m["sha256"].update({name: digest}))  # type: ignore[misc]
        with pytest.raises(ValueError, match="expected a relative path"):
            unpack(tmp_path / "pack", tmp_path / "back")


def test_names_in_a_pack_cannot_write_elsewhere(corpus: Cache, tmp_path: Path) -> None:
    pack(corpus.folder, tmp_path / "pack")
    rewrite_index(tmp_path / "pack", lambda index: index["entries"][2].update(media="../../secret.wav"))
    with pytest.raises(ValueError, match=r"u02.*expected a relative path"):
        unpack(tmp_path / "pack", tmp_path / "back")
    pack(corpus.folder, tmp_path / "pack")
    rewrite(tmp_path / "pack", lambda manifest: manifest["features"].update({"../film": "rows"}))
    with pytest.raises(ValueError, match="expected names of features"):
        unpack(tmp_path / "pack", tmp_path / "back")


def test_a_pack_that_contradicts_itself_is_refused(corpus: Cache, tmp_path: Path) -> None:
    pack(corpus.folder, tmp_path / "pack")
    rewrite(tmp_path / "pack", lambda manifest: manifest["mel"].update(hop_samples=200))
    with pytest.raises(ValueError, match="expected a pack for the mel"):
        unpack(tmp_path / "pack", tmp_path / "back")
    pack(corpus.folder, tmp_path / "pack")
    rewrite_index(tmp_path / "pack", lambda index: index["entries"].pop())
    with pytest.raises(ValueError, match="expected 21 recordings, got 22"):
        unpack(tmp_path / "pack", tmp_path / "back")
    (tmp_path / "pack" / "pack.json").write_text("[")
    with pytest.raises(ValueError, match=r"pack\.json: expected JSON"):
        unpack(tmp_path / "pack", tmp_path / "back")


def test_a_folder_of_something_else_is_left_alone(corpus: Cache, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "novel.txt").write_text("once")
    with pytest.raises(ValueError, match="expected a new folder or an earlier pack"):
        pack(corpus.folder, tmp_path / "mine")
    pack(corpus.folder, tmp_path / "pack")
    for folder in (tmp_path / "mine", corpus.folder):
        with pytest.raises(ValueError, match="expected a new or empty folder"):
            unpack(tmp_path / "pack", folder)
    unpack(tmp_path / "pack", tmp_path / "back")
    pack(corpus.folder, tmp_path / "other", PackConfig(held_out=True))
    with pytest.raises(ValueError, match="another pack"):
        unpack(tmp_path / "other", tmp_path / "back")
    assert (tmp_path / "mine" / "novel.txt").read_text() == "once"


def test_an_unfinished_preparation_is_not_packed(corpus: Cache, tmp_path: Path) -> None:
    (corpus.folder / "speaker.npy").unlink()
    with pytest.raises(ValueError, match="expected a finished preparation, got none of speaker"):
        pack(corpus.folder, tmp_path / "pack")


def test_what_an_evaluation_kept_in_a_corpus_stays_behind(corpus: Cache, tmp_path: Path) -> None:
    save_rows(corpus.folder, "functionals-0b454521", np.zeros((24, 3)))
    assert "functionals-0b454521" not in pack(corpus.folder, tmp_path / "pack").megabytes


def test_a_failed_pack_leaves_nothing(corpus: Cache, tmp_path: Path) -> None:
    (corpus.folder / "film.npy").write_bytes(b"broken")
    with pytest.raises(ValueError):
        pack(corpus.folder, tmp_path / "pack")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


# Going on.


def test_an_interrupted_unpacking_goes_on_and_ends_alike(
    corpus: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from authentic_dubber.training import unpack as module

    straight = there_and_back(corpus, tmp_path)
    read, asked = module.read_strip, []

    def killed(path: Path, *rest: Any) -> list[npt.NDArray[np.float32]]:
        asked.append(path.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return read(path, *rest)

    monkeypatch.setattr(module, "read_strip", killed)
    with pytest.raises(KeyboardInterrupt):
        unpack(tmp_path / "pack", tmp_path / "resumed")
    with (tmp_path / "resumed" / "waves.i16.part").open("ab") as file:
        file.write(b"half a strip")
    resumed = unpack(tmp_path / "pack", tmp_path / "resumed")
    assert asked[2] == asked[3] == "002.opus", "finished strips are not read again"
    names = {path.name for path in straight.folder.iterdir()}
    assert names == {path.name for path in resumed.folder.iterdir()}
    assert all((straight.folder / n).read_bytes() == (resumed.folder / n).read_bytes() for n in names)
    count = len(asked)
    unpack(tmp_path / "pack", tmp_path / "resumed")
    assert len(asked) == count, "a finished unpacking has nothing to do"
