"""Sizes as people write them: `512MiB`, `8GiB`, `2GB`."""

from __future__ import annotations

import math
import re

_UNITS = {"": 1, **{f"{p}B": 1000**n for n, p in enumerate(("", "k", "M", "G", "T"))}} | {
    f"{p}iB": 1024**n for n, p in enumerate(("K", "M", "G", "T"), start=1)
}
_BY_NAME = {name.lower(): size for name, size in _UNITS.items()}


def parse_size(text: str) -> int:
    """Bytes: kB, MB, GB, TB are powers of 1000, KiB, MiB, GiB, TiB of 1024; a bare number is bytes.

    Raises:
        ValueError: it is not of this form, or not at least one byte.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)\s*", text, flags=re.IGNORECASE)
    unit = _BY_NAME.get(match[2].lower()) if match else None
    size = math.floor(float(match[1]) * unit) if match and unit else 0
    if size < 1:
        raise ValueError(f"expected a size such as 512MiB, 8GiB or 2GB, got {text!r}")
    return size
