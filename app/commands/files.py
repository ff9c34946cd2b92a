"""``verdigrid ingest file`` and ``folder``: readings from files, now or as they are dropped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import (
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from app import receiving, settings
from app.commands.output import AsJson, LogJson, emit, log_json
from app.lifeline import end_with_parent
from app.progress import console
from app.signals import stop_event
from app.wiring import City, LiveTagMap, StoreSink, load_city, open_database, read_tag_map
from core.errors import DecodeError, StoreUnavailableError, VerdigridError
from ingest import filemapping
from ingest.files import ImportReport, import_file
from ingest.folder import FolderSettings, FolderStatus, run_folder

log = logging.getLogger(__name__)


def import_files(
    paths: Annotated[list[Path], typer.Argument(help="CSV, Parquet or Excel files.")],
    mapping: Annotated[
        Path | None,
        typer.Option(help="What the columns mean, in TOML or JSON; else the file beside each."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import files; importing one again is harmless.

    Without a mapping the columns are device, tag, unit, ts, value, and ts is ISO 8601 with zone.
    Of several files one that cannot be read does not keep out the others.
    """
    rule = filemapping.read(mapping) if mapping else None
    reports: list[dict[str, object]] = []
    failed: list[VerdigridError] = []
    with open_database(settings.load()) as database, closing(StoreSink(database)) as sink:
        city = load_city(database)
        described = filemapping.of_site(city.site.parameters)
        tag_map = read_tag_map(database)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
            for path in paths:
                task = bars.add_task(escape(path.name), total=None)
                advance = _Advance(bars, task)
                try:
                    import_file(
                        path,
                        sink,
                        tag_map,
                        advance,
                        received_at=city.now(),
                        mapping=rule or filemapping.choose(path, described),
                    )
                except VerdigridError as error:
                    failed.append(error)
                    reports.append(_row(path, advance.report, str(error)))
                    if isinstance(error, StoreUnavailableError):
                        break  # the next one would fare no better
                else:
                    reports.append(_row(path, advance.report))
    if failed and len(paths) == 1:
        raise failed[0]
    emit(
        "Imported",
        reports,
        ("file", "read", "stored", "duplicates", "rejected", "first_reason", "error"),
        as_json=as_json,
    )
    if failed:
        left = len(paths) - len(reports) + len(failed)
        raise DecodeError(f"{left} of {len(paths)} files were not imported to their end.")


class _Advance:
    """Shows and keeps how far a file is imported."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars = bars
        self._task = task
        self.report = ImportReport()

    def __call__(self, report: ImportReport) -> None:
        self.report = report
        self._bars.update(self._task, completed=report.read)


def _row(path: Path, report: ImportReport, error: str = "") -> dict[str, object]:
    return {
        "file": str(path),
        "read": report.read,
        "stored": report.stored,
        "duplicates": report.duplicates,
        "rejected": report.rejected,
        "first_reason": str(report.reasons[0]) if report.reasons else "",
        "error": error,
    }


def watch_folder(
    path: Annotated[Path, typer.Argument(help="Where files are dropped; made if it is missing.")],
    still_s: Annotated[
        float,
        typer.Option(min=0.0, help="A file is complete when it stood still this long, in seconds."),
    ] = 5.0,
    poll_s: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")] = 1.0,
    as_json: LogJson = False,
) -> None:
    """Import whatever is dropped into a folder until SIGTERM; several may share one.

    Imported files end in done/ with a report, others in failed/ with the reason. Mappings lie in
    mappings/, each with a pattern of file names, or beside a file.
    """
    end_with_parent()
    log_json(as_json)
    stop = stop_event()
    with open_database(settings.load()) as database:

        def folder(city: City) -> FolderSettings:
            return FolderSettings(path, still_s, poll_s, filemapping.of_site(city.site.parameters))

        def work(city: City, chosen: FolderSettings, until: threading.Event) -> None:
            with closing(StoreSink(database, pace=city.clock.pace)) as sink:
                tag_map = LiveTagMap(database, with_keys=True)
                run_folder(chosen, sink, tag_map, city.now, until, _reporter())

        receiving.follow(database, stop, folder, work)


def _reporter() -> Callable[[FolderStatus], None]:
    """A status callback that logs files as they are done, and what goes wrong once."""
    last = FolderStatus()

    def report(status: FolderStatus) -> None:
        nonlocal last
        before, last = last, status
        if status.last_error and status.last_error != before.last_error:
            log.warning("the drop folder waits", extra={"reason": status.last_error})
        if (status.imported, status.failed) != (before.imported, before.failed):
            facts = {
                "imported": status.imported,
                "failed": status.failed,
                "waiting": status.waiting,
                "stored": status.stored,
                "rejected": status.rejected,
            }
            log.info("drop folder", extra=facts)

    return report
