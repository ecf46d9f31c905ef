"""Exit codes, and how an error becomes one: the user's mistakes are a line, the engine's are a trace."""

from __future__ import annotations

import logging
from typing import Any

import typer
from typer.core import TyperGroup

OK = 0
FAILED = 1
"""A bug, or nothing came out."""
REFUSED = 2
"""The input cannot be worked on; one line says why."""
PARTIAL = 3
"""Some lines or clips failed or were skipped; the rest is there."""
INTERRUPTED = 130

HELP = """Exit codes: 0 done; 1 failed, a trace follows; 2 refused, one line says why; 3 done in part, some lines or
clips were skipped or failed; 130 interrupted, what was finished is kept."""

logger = logging.getLogger(__name__)


def one_line(error: BaseException) -> str:
    """What went wrong, in one line; the operating system's errors keep the file they are about."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


class DubGroup(TyperGroup):
    """A group of commands whose user mistakes end in `dub: <one line>` and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `--trace` shows where a user mistake was noticed."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has seen enough; not our user's mistake
            raise
        except (ValueError, OSError, ImportError) as error:
            if ctx.params.get("trace"):
                raise
            typer.echo(f"dub: {one_line(error)}", err=True)
            raise typer.Exit(REFUSED) from error
        except KeyboardInterrupt as error:
            typer.echo("dub: interrupted; what was finished is kept", err=True)
            raise typer.Exit(INTERRUPTED) from error
