"""espeak-ng behind a process border: text to IPA, and text to robotic speech.

espeak-ng is GPL-3.0 and this package is Apache-2.0. The two are kept apart as programs: the library is loaded by a
child process only (`espeak_worker`), and all that crosses the pipes is lines of JSON.
"""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 120.0
"""A worker that is silent for longer is hung; a full batch takes it well under a second."""
_BATCH = 256
"""Texts per request: long enough to hide the pipe, short enough to keep lines small."""


class EspeakError(RuntimeError):
    """The worker cannot do what was asked, or dies on it."""


class _WorkerDied(Exception):
    """No answer came."""


class Espeak:
    """A client of the worker, which starts with the first request and ends with `close` or with this process.

    May be shared among threads: one request is under way at a time.

    >>> with Espeak() as espeak:
    ...     espeak.phonemize(["hello"])
    ['həlˈoʊ']
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stop: weakref.finalize[..., Espeak] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Espeak:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None while there is none."""
        return self._process.pid if self._process is not None else None

    def close(self) -> None:
        """End the worker. A later request starts another."""
        with self._lock:
            self._end()

    def phonemize(self, texts: Sequence[str], voice: str = "en-us") -> list[str]:
        """IPA with stress marks, one string per text, words apart by one space.

        espeak-ng drops punctuation here, may join small words (`ˈʌvðə`), and writes `(en)` where it changes language.

        Raises:
            EspeakError: no such voice, or the worker died twice on these texts.
        """
        ipa: list[str] = []
        for batch in _batches(texts, _BATCH):
            ipa += self._ask({"do": "phonemize", "voice": voice, "texts": batch})["ipa"]
        return ipa

    def speak(
        self,
        text: str,
        voice: str = "en-us",
        *,
        rate: int = 175,
        pitch: int = 50,
        pitch_range: int = 50,
        volume: int = 100,
    ) -> tuple[npt.NDArray[np.float32], int]:
        """A text spoken; the same request always gives the same samples.

        Args:
            voice: a language and perhaps a variant, such as `en-us+f2`.
            rate: words a minute, 80 to 450.
            pitch, pitch_range: 0 to 99, 50 is the voice's own.
            volume: 0 to 200, 100 is ordinary.

        Returns:
            Mono samples in [-1, 1], (S,), and their rate in hertz.

        Raises:
            ValueError: a setting lies outside its range.
            EspeakError: no such voice, or the worker died twice on this text.
        """
        bounds = {"rate": (rate, 80, 450), "pitch": (pitch, 0, 99), "pitch_range": (pitch_range, 0, 99)}
        for name, (value, lowest, highest) in {**bounds, "volume": (volume, 0, 200)}.items():
            if not lowest <= value <= highest:
                raise ValueError(f"{name}: expected {lowest} to {highest}, got {value}")
        request = {"do": "speak", "text": text, "voice": voice, "rate": rate, "pitch": pitch}
        reply = self._ask({**request, "pitch_range": pitch_range, "volume": volume})
        pcm = np.frombuffer(base64.b64decode(reply["pcm"]), dtype=np.int16)
        return pcm.astype(np.float32) / np.float32(32768), int(reply["sample_rate"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        line = json.dumps(request) + "\n"
        with self._lock:
            try:
                reply = self._exchange(line)
            except _WorkerDied as first:
                logger.warning("the espeak worker died (%s); starting another", first)
                try:
                    reply = self._exchange(line)
                except _WorkerDied as second:
                    raise EspeakError(f"the espeak worker died twice on one request: {second}") from second
        if "error" in reply:
            raise EspeakError(reply["error"])
        return reply

    def _exchange(self, line: str) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        alarm = threading.Timer(ANSWER_SECONDS, process.kill)
        alarm.daemon = True
        alarm.start()
        answer = complaint = ""
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError as error:
            logger.debug("the pipe to the espeak worker broke: %s", error)
        finally:
            alarm.cancel()
            if not answer.endswith("\n"):  # after an interrupt too, lest the next request gets this one's answer
                complaint = self._end()
        if complaint:
            raise _WorkerDied(complaint)
        reply: dict[str, Any] = json.loads(answer)
        return reply

    def _start(self) -> subprocess.Popen[str]:
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the worker)
        process = subprocess.Popen(
            [sys.executable, "-m", "authentic_dubber.espeak_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
            cwd=Path(__file__).parents[1],  # first on the child's search path, wherever this process was started
        )
        # Runs when this client is let go or the interpreter ends, whichever comes first; `__del__` may come too late.
        self._process, self._stop = process, weakref.finalize(self, _stop, process, complaints)
        return process

    def _end(self) -> str:
        """Stop the worker if there is one; returns how it ended, in one line."""
        how = self._stop() if self._stop is not None else None
        self._process = self._stop = None
        return how or ""


def _stop(process: subprocess.Popen[str], complaints: IO[bytes]) -> str:
    assert process.stdin is not None and process.stdout is not None
    process.kill()  # it holds nothing that needs saving
    process.wait()
    process.stdout.close()
    try:
        process.stdin.close()
    except BrokenPipeError:
        logger.debug("the espeak worker left a request unread")
    with complaints:
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip().splitlines()
    return f"exit status {process.returncode}" + (f", {said[-1]}" if said else "")


def _batches(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(texts), size):
        yield list(texts[start : start + size])
