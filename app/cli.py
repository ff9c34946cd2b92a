"""``verdigrid``: the command line. A failure is one sentence on standard error and exit code 1.

Only the module of the command that is called gets loaded: a solver, a grid library and a web
framework together take seconds to import, and each process needs but one of them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import typer
from rich.markup import escape

from app import logs, settings
from app.progress import console
from core.errors import VerdigridError


@dataclass(frozen=True, slots=True)
class Command:
    """A command: the module in app/commands whose ``command`` (or ``group``) it is."""

    module: str
    help: str
    hidden: bool = False


COMMANDS = {
    "up": Command("up", "Start the whole system and show how it comes to life."),
    "down": Command("down", "Stop what `up` started; the data stays."),
    "status": Command("status", "Say what runs and how fresh the readings are."),
    "dispatch": Command("dispatch", "Plan a city day; approve plans; set-points."),
    "whatif": Command("whatif", "Plan a copy of the city with something changed, and compare."),
    "forecast": Command("forecast", "Forecasts of load and generation, and their scores."),
    "alerts": Command("alerts", "Alerts of grid, air and water."),
    "carbon": Command("busintensity", "Carbon intensity of every bus of the grid."),
    "ledger": Command("ledger", "The carbon ledger: list, balances, verify."),
    "ingest": Command("ingest", "Readings in: devices, files, and every protocol."),
    "charging": Command("charging", "Charging of electric vehicles: sessions, connectors."),
    "quarantine": Command("quarantine", "What could not be read, and why: list, mend, replay."),
    "account": Command("account", "Accounts, and tokens of machines."),
    "series": Command("series", "Series: search, who is online, gaps, corrections."),
    "site": Command("site", "The description of the city: load, export, show."),
    "store": Command("store", "Readings at rest: size, roll-ups, how long they are kept."),
    "grid": Command("grid", "Network models: import, check, power flow, hosting capacity."),
    "serve": Command("serve", "Serve the web application, until SIGTERM."),
    "schedule": Command("schedule", "Run the jobs of the city, until SIGTERM."),
    "supervise": Command("supervise", "Keep every process running.", hidden=True),
    "simulate": Command("simulate", "Run the simulated city.", hidden=True),
}


def build(wanted: str | None) -> typer.Typer:
    """The command line, with the module of ``wanted`` loaded and the others by name only."""
    cli = typer.Typer(
        name="verdigrid",
        help="Runs a city's energy, environment and carbon.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command in COMMANDS.items():
        module = None
        if name == wanted:
            module = importlib.import_module(f"app.commands.{command.module}")
        if module is not None and hasattr(module, "group"):
            cli.add_typer(module.group, name=name, help=command.help, hidden=command.hidden)
        else:
            function = module.command if module is not None else _not_loaded
            text = function.__doc__ or command.help
            cli.command(name, help=text.strip(), hidden=command.hidden)(function)
    return cli


def _not_loaded() -> None:  # no docstring: the table's help is shown
    raise AssertionError("only the command that is called is ever run")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; the entry point of the console script."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wanted = next((part for part in given if not part.startswith("-")), None)
    try:
        chosen = settings.load()
        logs.configure(level=chosen.log_level, form=chosen.log_format)
        build(wanted)(args=given, prog_name="verdigrid")
    except VerdigridError as error:
        console.print(f"[red]verdigrid:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
