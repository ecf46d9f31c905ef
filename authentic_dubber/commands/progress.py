"""A progress bar on stderr, for any job that reports (what, done, total)."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


class Bar:
    """Call it as the job goes on: `bar("line 3", 2, 10)`. It draws only on a terminal, so logs stay clean."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        from tqdm import tqdm

        bar = self._bar
        if bar is None:
            bar = tqdm(total=total, leave=False, disable=None, dynamic_ncols=True)
        self._bar = bar
        bar.total, bar.n = total, done
        bar.set_description_str(what)

    def write(self, line: str) -> None:
        """Print a line on stdout without tearing the bar."""
        from tqdm import tqdm

        tqdm.write(line)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
