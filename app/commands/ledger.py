"""``verdigrid ledger``: look at the carbon ledger and let it prove itself."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app import settings
from app.commands.output import AsJson, emit, emit_json
from app.progress import console, step
from app.wiring import open_database
from carbon import journal
from store import ledger

group = typer.Typer(help="The carbon ledger.", no_args_is_help=True)
Owner = Annotated[str, typer.Option(help="Only this enterprise.")]


@group.command("list")
def list_entries(
    owner: Owner = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest entries, newest first."""
    with (
        open_database(settings.load()) as database,
        database.connection() as connection,
    ):
        found = ledger.entries(connection, owner=owner or None, limit=limit)
    emit(
        "Ledger",
        [
            {
                "sequence": stored.sequence,
                "owner": stored.entry.owner,
                "kind": stored.entry.kind,
                "valid_from": stored.entry.valid_from,
                "postings": "; ".join(
                    f"{p.account} {p.amount} {p.unit}" for p in stored.entry.postings
                ),
                "recorded_at": stored.recorded_at,
                "hash": stored.hash.hex(),
            }
            for stored in found
        ],
        ("sequence", "owner", "kind", "valid_from", "postings"),
        as_json=as_json,
    )


@group.command()
def balances(owner: Owner = "", as_json: AsJson = False) -> None:
    """The balance of every account."""
    with (
        open_database(settings.load()) as database,
        database.connection() as connection,
    ):
        found = ledger.balances(connection, owner=owner or None)
    rows = [
        {"owner": o, "account": account, "unit": unit, "balance": amount}
        for (o, account, unit), amount in sorted(found.items())
    ]
    emit("Balances", rows, ("owner", "account", "unit", "balance"), as_json=as_json)


@group.command()
def verify(as_json: AsJson = False) -> None:
    """Check every entry, balance and link of the chain; exit code 2 when one is broken."""
    with open_database(settings.load()) as database:
        with step("Reading the chain"), database.connection() as connection:
            entries = list(ledger.chain(connection))
        with step(f"Checking {len(entries):,} entries"):
            findings = journal.verify(entries)
    head = entries[-1].hash.hex() if entries else ""
    if as_json:
        emit_json({"entries": len(entries), "head": head, "findings": [str(f) for f in findings]})
    else:
        for finding in findings:
            console.print(str(finding), markup=False)
        verdict = "holds" if not findings else "is broken"
        console.print(f"The chain of {len(entries):,} entries {verdict}. Head: {head or 'none'}")
    if findings:
        sys.exit(2)
