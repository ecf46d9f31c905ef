"""`dub doctor`: what is installed, what is not, and what cures it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from authentic_dubber.exits import FAILED, OK

MARKS = {"ok": "ok", "missing": "MISSING", "absent": "absent", "note": "-"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False) -> None:
    """Look the installation over without importing it. Exits with 1 when something that is needed is missing."""
    from authentic_dubber.doctor import examine, healthy

    findings = examine()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    else:
        for finding in findings:
            typer.echo(f"{MARKS[finding.state]:8s} {finding.name:24s} {finding.found}")
            if finding.cure:
                typer.echo(f"{'':8s} {'':24s} {finding.cure}")
    raise typer.Exit(OK if healthy(findings) else FAILED)
