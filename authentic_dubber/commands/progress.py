"""A progress bar on stderr, for any job that reports (what, done, total)."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


class Bar:
    """Call it as the job goes on: `bar("line 3", 2, 10)`. It draws only on a terminal, so logs stay clean.

    What the first call reports as done was done before: it counts for no rate, and the remaining time is true.
    """

    def __init__(self, unit: str = "it") -> None:
        """
        Args:
            unit: what is counted, for the rate.
        """
        self._unit = unit
        self._bar: tqdm[Any] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        from tqdm import tqdm

        bar = self._bar
        if bar is None:
            bar = tqdm(
                total=total,
                initial=done,
                unit=self._unit,
                leave=False,
                disable=None,
                dynamic_ncols=True,
                mininterval=0.5,
            )
        self._bar = bar
        bar.total = total
        bar.set_description_str(what, refresh=False)
        bar.update(done - bar.n)

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
