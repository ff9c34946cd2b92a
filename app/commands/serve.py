"""``verdigrid serve``: the web application."""

from __future__ import annotations

import uvicorn

from app import settings
from app.commands.output import LogJson, log_json
from app.lifeline import end_with_parent
from app.ports import require_free
from app.web import create_app
from app.wiring import load_city, open_database


def command(as_json: LogJson = False) -> None:
    """Serve the web application in this process, until SIGTERM."""
    end_with_parent()
    log_json(as_json)
    chosen = settings.load()
    require_free(chosen.host, chosen.port, purpose="the web application", setting="VERDIGRID_PORT")
    with open_database(chosen) as database:
        uvicorn.run(
            create_app(chosen, load_city(database)),
            host=chosen.host,
            port=chosen.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
