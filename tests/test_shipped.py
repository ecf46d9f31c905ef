"""The checkpoint that comes with the package: it speaks, the same every time, and alone as in company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from authentic_dubber.dubber import Dubber
from authentic_dubber.espeak import Espeak
from authentic_dubber.types import Line, Voice
from library_builder.mux import write_wave

LINES = (
    "You came back! I thought you were gone for ever.",
    "Wait for me.",
    "There is nothing behind that door, and there never was.",
)


@pytest.fixture(scope="module")
def dubber() -> Dubber:
    return Dubber.load(device="cpu")


@pytest.fixture(scope="module")
def voice_wave(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompt") / "prompt.wav"
    with Espeak() as espeak:
        wave, rate = espeak.speak("The lamp is lit, and the boat is waiting by the shore.", "en-us")
    write_wave(path, wave, rate)
    return path


@pytest.fixture(scope="module")
def voice(dubber: Dubber, voice_wave: Path) -> Voice:
    return dubber.voice("Ada", voice_wave)


def line(i: int) -> Line:
    return Line(str(i), "Ada", LINES[i], 0.0, 3.0)


def sixteen_bit(wave: np.ndarray) -> np.ndarray:
    return np.round(wave * 32767).astype(np.int64)


def test_the_same_line_twice_is_bit_equal(dubber: Dubber, voice: Voice) -> None:
    first, second = dubber.say(line(0), voice), dubber.say(line(0), voice)
    assert np.array_equal(first.wave, second.wave)


def test_a_line_alone_and_in_a_batch_differ_by_at_most_one_step(dubber: Dubber, voice: Voice) -> None:
    """Padding is masked; what is left is float32 sums in another order, far below a 16-bit step."""
    together = dubber.speak([dubber.prepare(line(i), voice, library=None) for i in range(len(LINES))])
    for i, take in enumerate(together):
        alone = dubber.say(line(i), voice)
        assert alone.wave.shape == take.wave.shape
        assert np.abs(sixteen_bit(alone.wave) - sixteen_bit(take.wave)).max() <= 1


def test_slotted_lines_alone_and_in_a_batch_differ_by_at_most_one_step(dubber: Dubber, voice: Voice) -> None:
    """The same where slots are filled, faint ends cut, and lines of different lengths share a batch."""
    from authentic_dubber.types import Slot

    slots = [Slot(0.0, seconds, "oracle") for seconds in (2.4, 0.9, 3.3)]
    prepared = [dubber.prepare(line(i), voice, library=None, slot=slots[i]) for i in range(len(LINES))]
    for one, take in zip(prepared, dubber.speak(prepared), strict=True):
        alone = dubber.speak([one])[0]
        assert alone.wave.shape == take.wave.shape
        assert np.abs(sixteen_bit(alone.wave) - sixteen_bit(take.wave)).max() <= 1


def test_it_speaks_for_about_as_long_as_people_do(dubber: Dubber, voice: Voice) -> None:
    """Phones a second lie within twice the range of the recordings it learned from, and there is sound."""
    slow, fast = dubber.card.facts["phones_per_second"]
    for i in range(len(LINES)):
        take = dubber.say(line(i), voice)
        seconds = len(take.wave) / take.sample_rate
        assert slow / 2 < len(take.timing.names) / seconds < fast * 2
        assert float(np.sqrt(np.mean(take.wave**2))) > 0.01


def test_a_forced_slot_is_filled_to_the_frame(dubber: Dubber, voice: Voice) -> None:
    from authentic_dubber.types import Slot

    natural = dubber.say(line(0), voice)
    seconds = 0.9 * natural.timing.ends[-1]
    prepared = dubber.prepare(line(0), voice, library=None, slot=Slot(0.0, seconds, "oracle"))
    take = dubber.speak([prepared])[0]
    hop = dubber.mel_config.hop_samples
    assert abs(len(take.wave) / take.sample_rate - seconds) <= 0.5 * hop / take.sample_rate + 1e-9
    assert take.timing.verdict == ""
    assert take.slot.source == "oracle"


def test_its_card_names_data_and_licences(dubber: Dubber) -> None:
    assert "CC-BY-NC-SA-4.0" in dubber.licences
    assert "CC BY-NC-SA" in dubber.notice
    assert set(dubber.card.facts["corpora"]) == {"kathleen", "ravdess", "nemo", "grid", "sayings"}


def test_it_stays_small() -> None:
    from authentic_dubber.checkpoint import packaged_checkpoint

    total = sum(path.stat().st_size for path in Path(packaged_checkpoint()).rglob("*") if path.is_file())
    assert total <= 40 * 2**20


def test_the_permissive_voice_is_whole_small_and_free_of_nc() -> None:
    """`--commercial-only` finds a checkpoint that no recording with an NC licence has touched."""
    from authentic_dubber.checkpoint import packaged_checkpoint, read_card

    folder = packaged_checkpoint(commercial_only=True)
    card = read_card(folder)
    assert card.licences and not any("NC" in licence for licence in card.licences)
    assert set(card.facts["corpora"]) == {"kathleen", "grid", "sayings"}
    sizes = [sum(p.stat().st_size for p in f.rglob("*") if p.is_file()) for f in (folder, packaged_checkpoint())]
    assert sizes[0] < sizes[1]


def test_the_permissive_voice_speaks_and_says_what_it_may_be_used_for(voice_wave: Path) -> None:
    from authentic_dubber.checkpoint import packaged_checkpoint
    from authentic_dubber.dubber import Dubber

    dubber = Dubber.load(packaged_checkpoint(commercial_only=True), device="cpu")
    take = dubber.say(line(0), dubber.voice("Ada", voice_wave))
    assert float(np.sqrt(np.mean(take.wave**2))) > 0.005
    assert take.provenance["licences"] == list(dubber.licences)
