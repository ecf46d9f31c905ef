"""`dub library`'s commands about versions: add and remove clips, see, verify, publish, take back, collect and keep."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authentic_dubber.exits import FAILED, PARTIAL

from .library_build import (
    AsJson,
    CueSheets,
    Device,
    Film,
    Footage,
    LibraryFolder,
    Licence,
    ModelBatch,
    ModelDir,
    NamedModels,
    Precision,
    PrecisionChoice,
    Speaker,
    Workers,
    opened,
    placed,
    read_by,
)
from .progress import Bar

if TYPE_CHECKING:
    from retrieval.upkeep import LibraryStatus, VersionStatus

VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="Such as v0002-77d01c5e; see `list`.")]
NoPublish = Annotated[bool, typer.Option("--no-publish", help="Write the version, but leave the current one as it is.")]
Onto = Annotated[
    str | None, typer.Option(metavar="VERSION", help="Begin with this version; the current one by default.")
]


def add(
    library: LibraryFolder,
    *,
    footage: Footage,
    cues: CueSheets = None,
    film: Film = None,
    licence: Licence = None,
    speaker: Speaker = "",
    extractors: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="What reads; by default as LIB was read.")
    ] = None,
    model_dir: ModelDir = None,
    model: NamedModels = None,
    device: Device = "auto",
    precision: Precision = PrecisionChoice.auto,
    model_batch: ModelBatch = 4,
    workers: Workers = 1,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let a clip that reads otherwise now take the place of its old self.")
    ] = False,
    onto: Onto = None,
    no_publish: NoPublish = False,
    as_json: AsJson = False,
) -> None:
    """Read more footage into LIB: a new version that shares the rest with the one before. It may be repeated.

    Exits with 3 when some footage failed; the rest is in the library.
    """
    from authentic_dubber.librarian import BuildJob, BuildOptions, add_footage

    job = BuildJob(library, tuple(footage), tuple(cues or ()), film, licence, speaker)
    places = placed(model_dir, model)
    options, readers = BuildOptions(workers=workers), None
    if extractors is not None:
        using = read_by(extractors, places, device, precision, model_batch)
        options = BuildOptions(workers=workers, load=using.load, config=using.config())
        readers = opened(using, here=workers == 1)
    with Bar("clip") as bar:
        change, read = add_footage(
            job, readers, bar, options, models=places, replaced=replace, publish=not no_publish, onto=onto
        )
    troubles = list(read.troubles())
    facts = {"version": change.version, **change.counts, "footage": dict(read.counts), "troubles": troubles}
    _tell(as_json, facts, f"{library}: version {change.version}: {_counted(change.counts)}", *troubles)
    raise typer.Exit(PARTIAL if read.counts["failed"] + read.counts["skipped"] else 0)


def remove(
    library: LibraryFolder,
    *,
    clip: Annotated[list[str] | None, typer.Option(metavar="ID", help="This clip. Repeat it for more.")] = None,
    film: Annotated[list[str] | None, typer.Option(help="Clips of this film. Repeat it for more.")] = None,
    licence: Annotated[
        list[str] | None, typer.Option(help="Clips of this licence; '' for none named. Repeat it for more.")
    ] = None,
    speaker: Annotated[list[str] | None, typer.Option(help="Clips of this speaker. Repeat it for more.")] = None,
    onto: Onto = None,
    no_publish: NoPublish = False,
    as_json: AsJson = False,
) -> None:
    """Make a version of LIB without some clips. Of several kinds of options, a clip must meet each to go.

    The clips stay on the disk in older versions until `gc` removes those.
    """
    from retrieval.editing import remove as take_out

    change = take_out(
        library,
        ids=clip or (),
        speakers=speaker or (),
        films=film or (),
        licences=licence or (),
        publish=not no_publish,
        onto=onto,
    )
    if not change.counts["removed"]:
        raise ValueError(f"expected clips to remove, {library} has none that meet this")
    facts = {"version": change.version, **change.counts}
    _tell(as_json, facts, f"{library}: version {change.version}: {_counted(change.counts)}")


def status(library: LibraryFolder, as_json: AsJson = False) -> None:
    """Tell how LIB stands: current version, sizes, who is changing it, what is left over."""
    from retrieval.upkeep import status as read

    found = read(library)
    lines = [
        f"{library}: {found.current or 'NO CURRENT VERSION'}, {len(found.versions)} versions, {_size(found.bytes)}"
    ]
    if found.owner is not None:
        state = "is being changed by" if found.owner.is_alive() else "was left locked by"
        lines.append(f"  {state} {found.owner}")
    lines += [f"  left over: {name}" for name in found.leftovers]
    lines += [f"  unfinished: {name}" for name in found.unfinished]
    lines += [f"  {one.version}: {one.trouble}" for one in found.versions if one.trouble]
    _tell(as_json, _status_facts(found), *lines)


def list_versions(library: LibraryFolder, as_json: AsJson = False) -> None:
    """List LIB's versions, oldest first, with what each has to itself on the disk."""
    from retrieval.upkeep import status as read

    found = read(library)
    _tell(as_json, [asdict(one) for one in found.versions], *(_version_line(one) for one in found.versions))


def verify(library: LibraryFolder, as_json: AsJson = False) -> None:
    """Read every byte of every version of LIB and name the files that are not as they were written.

    Exits with 1 when there are some.
    """
    from retrieval.upkeep import verify as check

    problems = check(library)
    _tell(as_json, {"problems": list(problems)}, *(problems or (f"{library}: every file is as it was written",)))
    raise typer.Exit(FAILED if problems else 0)


def publish(library: LibraryFolder, version: VersionName, as_json: AsJson = False) -> None:
    """Make VERSION the one that readers of LIB get, once every byte of it was compared."""
    from retrieval.upkeep import publish as point

    point(library, version)
    _tell(as_json, {"current": version}, f"{library}: {version} is current")


def rollback(library: LibraryFolder, as_json: AsJson = False) -> None:
    """Make the version current that LIB's current one was made from."""
    from retrieval.upkeep import rollback as back

    version, missed = back(library)
    gone = f"; {missed}, which the one before was made from, is gone" if missed else ""
    _tell(as_json, {"current": version, "missed": missed}, f"{library}: {version} is current{gone}")


def gc(
    library: LibraryFolder,
    *,
    keep: Annotated[int, typer.Option(min=1, help="Keep so many of the newest versions.")] = 3,
    work: Annotated[
        bool, typer.Option("--work", help="Also remove what builds keep of footage; the next one reads all of it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove LIB's old versions, and what writers left when they died. The current and the kept ones stay.

    Clips that were removed stay in what builds keep of footage until `--work` clears that.
    """
    from retrieval.upkeep import gc as collect

    gone, cleared = collect(library, keep, dry=dry_run), 0
    if work:  # the librarian can build too, which takes a moment to load
        from authentic_dubber.librarian import clear_work

        cleared = clear_work(library, dry=dry_run)
    verb = "would remove" if dry_run else "removed"
    names = ", ".join((*gone.versions, *gone.leftovers, *(("work",) if cleared else ()))) or "nothing"
    facts = {**asdict(gone), "work": cleared, "dry_run": dry_run}
    _tell(as_json, facts, f"{library}: {verb} {names}, {_size(gone.freed + cleared)}")


def keep(
    library: LibraryFolder,
    version: VersionName,
    *,
    no_more: Annotated[bool, typer.Option("--no-more", help="Treat it like any other again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let `gc` keep VERSION, whatever its age."""
    from retrieval.upkeep import keep as pin
    from retrieval.upkeep import kept_versions, unkeep

    (unkeep if no_more else pin)(library, version)
    kept = kept_versions(library)
    _tell(as_json, {"kept": list(kept)}, f"{library}: kept are {', '.join(kept) or 'none'}")


def migrate(
    libraries: Annotated[list[Path], typer.Argument(metavar="LIB...", help="The libraries' folders.")],
    as_json: AsJson = False,
) -> None:
    """Write the current version of a LIB of an earlier layout again in the present one; any number of them."""
    from retrieval.migration import migrate as renew

    made = {str(library): renew(library) for library in libraries}
    lines = [f"{name}: {f'version {new}' if new else 'is of the present layout already'}" for name, new in made.items()]
    _tell(as_json, made, *lines)


def _tell(as_json: bool, facts: Any, *lines: str) -> None:
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        for line in lines:
            typer.echo(line)


def _status_facts(found: LibraryStatus) -> dict[str, Any]:
    facts = asdict(found)
    if found.owner is not None:
        facts["owner"] |= {"alive": found.owner.is_alive(), "age_seconds": round(found.owner.age, 1)}
    return facts


def _version_line(one: VersionStatus) -> str:
    marks = [mark for mark, on in (("current", one.current), ("kept", one.kept)) if on]
    what = one.trouble or f"{one.clips:7d} clips  {one.created}"
    return f"{one.version}  {what}  {_size(one.bytes)}, its own {_size(one.own_bytes)}  {', '.join(marks)}".rstrip()


def _counted(counts: Any) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "nothing changed"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
