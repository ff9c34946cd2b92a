"""Structured logs: a short sentence and its facts as fields, in UTC."""

from __future__ import annotations

import logging
import sys

import structlog

NOISY = (
    "apscheduler.executors",
    "uvicorn.access",
    "httpx",
    "amqtt",
    "transitions",
    "pandapower",
    "pyomo",
)


def configure(*, level: str = "info", form: str = "text") -> None:
    """Send the logs of this process, ours and the libraries', to standard error.

    form: ``json`` for machines (one object a line), ``text`` for people.
    """
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="at")
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        stamp,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ]
        if form == "json"
        else [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These tell of every request and every job run; their warnings are what matters.
    # A job that is still running when it is due again is skipped; that is meant.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
