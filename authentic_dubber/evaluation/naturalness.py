"""The measures of naturalness and quality: models of listeners, which no figure of ours was trained on."""

from __future__ import annotations

from pathlib import Path

from .dnsmos import Dnsmos
from .measured import Measure
from .nisqa import NisqaTts


def naturalness_measures(models: Path | None) -> list[Measure]:
    """DNSMOS and NISQA-TTS; each says "not measured" where its files are not there.

    Args:
        models: holds `dnsmos/` with both ONNX files and `nisqa/nisqa_tts.tar`, as published; None for neither.
    """
    if models is None:
        return [Dnsmos(None), NisqaTts(None)]
    return [Dnsmos(models / "dnsmos"), NisqaTts(models / "nisqa" / "nisqa_tts.tar")]
