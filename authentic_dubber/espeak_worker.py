"""The child process that holds espeak-ng: `python -m authentic_dubber.espeak_worker`. Asked through `espeak.Espeak`.

espeak-ng is GPL-3.0 and this package is Apache-2.0, so the library is never loaded into the process that uses the
package: this program stands alone, imports nothing of ours, and talks in lines of JSON over pipes. It is the only file
that touches `espeakng_loader`.

One request per line, one answer per line:

    {"do": "phonemize", "voice": "en-us", "texts": [...]}               -> {"ipa": [...]}
    {"do": "speak", "voice": "pl", "text": "...", "rate": 175, ...}     -> {"pcm": base64 of int16, "sample_rate": ...}
    anything that cannot be done                                        -> {"error": "one line"}
"""

from __future__ import annotations

import _ctypes
import base64
import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import espeakng_loader

# Names and numbers of speak_lib.h.
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8 = 1
_AS_IPA = 0x02
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_CHARACTER_POSITION = 1

_BREATH_SEED = 1

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Refused(Exception):
    """espeak-ng cannot do what was asked; the message is one line."""


class Engine:
    """espeak-ng through ctypes.

    Raises:
        Refused: the library cannot be opened or finds no data.
    """

    def __init__(self) -> None:
        self._data = Path(espeakng_loader.get_data_path())
        self._pieces: list[bytes] = []
        # The library keeps the pointer, so the callback has to live as long as the engine.
        self._callback = _Callback(self._collect)
        self._open()

    def _open(self) -> None:
        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise Refused(f"the espeak-ng library cannot be loaded: {error}") from error
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
        path = os.fsencode(self._data.parent)
        self.sample_rate = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, path, _DONT_EXIT))
        if self.sample_rate <= 0:
            raise Refused(f"espeak-ng finds no usable data in {self._data}")
        self._library.espeak_SetSynthCallback(self._callback)

    def _reopen(self) -> None:
        """Phases of the last sound stay in the library's own variables; only loading it anew clears them."""
        self._library.espeak_Terminate()
        if sys.platform == "win32":
            _ctypes.FreeLibrary(self._library._handle)
        else:
            _ctypes.dlclose(self._library._handle)
        self._open()
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(_BREATH_SEED))  # its own seed is the clock's second

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    def _choose(self, voice: str) -> None:
        """An unknown variant is silently ignored by espeak-ng, so its file is looked for here."""
        _, _, variant = voice.partition("+")
        known = {path.name for path in (self._data / "voices" / "!v").iterdir()}
        if "\0" in voice or (variant and variant not in known):
            raise Refused(f"voice {voice!r}: expected a variant such as +f2 or +m3, got {variant!r}")
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise Refused(f"voice {voice!r} is not one of espeak-ng's, such as en-us or pl")

    def phonemize(self, texts: list[str], voice: str) -> list[str]:
        """Texts to IPA with stress, words apart by one space."""
        self._choose(voice)
        return [self._phonemes(text) for text in texts]

    def _phonemes(self, text: str) -> str:
        buffer = ctypes.create_string_buffer(text.replace("\0", " ").encode(errors="replace"))
        place = ctypes.c_void_p(ctypes.addressof(buffer))
        clauses = []
        # One call reads one clause and moves the pointer; it becomes null after the last.
        while place.value:
            spoken = self._library.espeak_TextToPhonemes(ctypes.byref(place), _UTF8, _AS_IPA)
            clauses.append((spoken or b"").decode())
        return " ".join(" ".join(clauses).split())

    def speak(self, text: str, voice: str, *, rate: int, pitch: int, pitch_range: int, volume: int) -> bytes:
        """A text as 16-bit samples in the machine's byte order; the same samples whatever was spoken before."""
        self._reopen()
        self._choose(voice)
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range), (_VOLUME, volume)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._pieces.clear()
        data = text.replace("\0", " ").encode(errors="replace")
        status = self._library.espeak_Synth(
            data, ctypes.c_size_t(len(data) + 1), 0, _CHARACTER_POSITION, 0, _UTF8, None, None
        )
        self._library.espeak_Synchronize()
        if status != 0:
            raise Refused(f"espeak-ng could not speak {text[:60]!r} (status {status})")
        return b"".join(self._pieces)


def answer(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    """What one request asks for."""
    match request.pop("do"):
        case "phonemize":
            return {"ipa": engine.phonemize(**request)}
        case "speak":
            pcm = engine.speak(**request)
            return {"pcm": base64.b64encode(pcm).decode("ascii"), "sample_rate": engine.sample_rate}
        case unknown:
            raise Refused(f"known requests are phonemize and speak, got {unknown!r}")


def serve(requests: TextIO, answers: TextIO, start: Callable[[], Engine] = Engine) -> None:
    """Answer until the requests end, which they do when the parent is gone."""
    engine: Engine | None = None
    for line in requests:
        try:
            engine = engine or start()
            reply = answer(engine, json.loads(line))
        except Refused as error:
            reply = {"error": str(error)}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


def main() -> None:
    """Keep the real standard output for answers, and send whatever native code prints to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with open(0, encoding="utf-8", closefd=False) as requests:
        serve(requests, answers)


if __name__ == "__main__":
    main()
