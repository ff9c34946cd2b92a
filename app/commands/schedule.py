"""``verdigrid schedule``: the jobs of the city."""

from __future__ import annotations

import logging
import os

from app import schedule, settings
from app.commands.output import LogJson, log_json
from app.lifeline import end_with_parent
from app.signals import stop_event
from app.wiring import load_city, open_database


def command(as_json: LogJson = False) -> None:
    """Run the jobs of the city in this process, until SIGTERM."""
    end_with_parent()
    log_json(as_json)
    os.nice(5)  # a solve must not make the pages wait
    chosen = settings.load()
    stop = stop_event()
    with open_database(chosen) as database:
        schedule.run(chosen, load_city(database), stop)
    # A solve or a fit that is under way cannot be interrupted, and nothing waits for its result:
    # whatever a job stores, it stores in one transaction at its end.
    logging.shutdown()
    os._exit(0)
