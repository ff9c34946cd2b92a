"""``verdigrid ingest``: readings in, by MQTT or from files."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
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

from app import settings
from app.commands import hj212_request
from app.commands.output import AsJson, LogJson, emit, log_json
from app.lifeline import end_with_parent
from app.progress import console
from app.signals import stop_event
from app.wiring import (
    LiveTagMap,
    StoreSink,
    broker_access,
    load_city,
    open_database,
    read_tag_map,
)
from ingest import protocols
from ingest.files import ImportReport, import_file
from ingest.mqtt import MqttSettings, run_mqtt
from ingest.mqtt_wire import Version
from ingest.pipeline import BatchSettings, Status

log = logging.getLogger(__name__)

group = typer.Typer(help="Collect readings.", no_args_is_help=True)
group.command("hj212-request")(hj212_request.command)

REPORT_EVERY_S = 60.0


@group.command()
def mqtt(as_json: LogJson = False) -> None:
    """Receive from the MQTT broker until SIGTERM; acknowledges after the commit only."""
    end_with_parent()
    log_json(as_json)
    chosen = settings.load()
    stop = stop_event()
    with open_database(chosen) as database:
        city = load_city(database)
        run_mqtt(
            MqttSettings(
                access=broker_access(chosen),
                client_id=chosen.client_id,
                version=Version.V5 if chosen.mqtt_version == "5" else Version.V3_1_1,
                share=chosen.broker_share,
                batch=BatchSettings(rows=chosen.batch_rows, wait_s=chosen.batch_ms / 1000.0),
            ),
            StoreSink(database, pace=city.clock.pace),
            LiveTagMap(database),
            city.now,
            stop,
            _reporter(),
            protocols=protocols.find(profiles=city.site.profiles),
        )


def _reporter() -> Callable[[Status], None]:
    """A status callback that logs now and then, and at once when something goes wrong."""
    last_error = ""
    next_report = 0.0
    guard = threading.Lock()

    def report(status: Status) -> None:
        nonlocal last_error, next_report
        with guard:
            changed = status.last_error != last_error
            if not changed and time.monotonic() < next_report:
                return
            last_error, next_report = status.last_error, time.monotonic() + REPORT_EVERY_S
        facts = {
            "received": status.received,
            "stored": status.stored,
            "duplicates": status.duplicates,
            "quarantined": status.quarantined,
        }
        if changed and status.last_error:
            log.warning("ingest waits", extra={**facts, "reason": status.last_error})
        else:
            log.info("ingest runs", extra=facts)

    return report


@group.command("file")
def file_(
    paths: Annotated[list[Path], typer.Argument(help="CSV or Parquet files, long format.")],
    as_json: AsJson = False,
) -> None:
    """Import files; importing one again is harmless. Columns: device, tag, unit, ts, value."""
    chosen = settings.load()
    reports = []
    with open_database(chosen) as database:
        city = load_city(database)
        tag_map = read_tag_map(database)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
            for path in paths:
                task = bars.add_task(escape(path.name), total=None)
                report = import_file(
                    path,
                    StoreSink(database),
                    tag_map,
                    _advance(bars, task),
                    received_at=city.now(),
                )
                reports.append({"file": str(path), **_counts(report)})
    emit(
        "Imported",
        reports,
        ("file", "read", "stored", "duplicates", "rejected"),
        as_json=as_json,
    )


def _advance(bars: Progress, task: TaskID) -> Callable[[ImportReport], None]:
    return lambda report: bars.update(task, completed=report.read)


def _counts(report: object) -> dict[str, int]:
    return {n: int(getattr(report, n)) for n in ("read", "stored", "duplicates", "rejected")}


@group.command("protocols")
def list_protocols(as_json: AsJson = False) -> None:
    """The protocols that were found, one file each."""
    found = protocols.find()
    rows = [{"name": p.name, "listens_to": ", ".join(p.topics)} for p in found.messages]
    rows += [{"name": p.name, "listens_to": ", ".join(p.suffixes)} for p in found.files]
    emit("Protocols", rows, ("name", "listens_to"), as_json=as_json)
