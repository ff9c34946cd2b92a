"""``verdigrid account``: who may sign in. A city begins without any account."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app import settings
from app.auth import hash_password
from app.commands.output import AsJson, emit, emit_json
from app.progress import console
from app.wiring import load_site, open_database
from core.accounts import Role
from core.errors import ConfigurationError
from store import users

group = typer.Typer(help="Accounts: add, list, close.", no_args_is_help=True)

SHORTEST_PASSWORD = 12  # ASVS 5.0 6.2.1 asks for 8 at least and recommends 15
Password = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@group.command()
def add(
    name: Annotated[str, typer.Argument(help="The name to sign in with.")],
    role: Annotated[Role, typer.Argument(help="The desk.")],
    enterprise: Annotated[str, typer.Option(help="The enterprise of an enterprise account.")] = "",
    from_stdin: Password = False,
    as_json: AsJson = False,
) -> None:
    """Add an account; the password is asked for."""
    with open_database(settings.load()) as database:
        _check_enterprise(role, enterprise, {e.id for e in load_site(database).enterprises})
        password = _password(from_stdin=from_stdin)
        with database.connection() as connection:
            users.add(
                connection, name, role, owner=enterprise, password_hash=hash_password(password)
            )
    _say({"name": name, "role": str(role)}, f"{name} may sign in as {role}.", as_json=as_json)


@group.command("list")
def list_accounts(as_json: AsJson = False) -> None:
    """All accounts."""
    with open_database(settings.load()) as database, database.connection() as connection:
        rows = [
            {"name": u.name, "role": str(u.role), "enterprise": u.owner, "active": u.active}
            for u in users.all_users(connection)
        ]
    emit("Accounts", rows, ("name", "role", "enterprise", "active"), as_json=as_json)


@group.command()
def close(name: Annotated[str, typer.Argument()], as_json: AsJson = False) -> None:
    """Close an account; its sessions end at once."""
    with open_database(settings.load()) as database, database.connection() as connection:
        users.set_active(connection, name, active=False)
    _say({"name": name, "active": False}, f"{name} is closed.", as_json=as_json)


def _check_enterprise(role: Role, enterprise: str, known: set[str]) -> None:
    if role is Role.ENTERPRISE and enterprise not in known:
        raise ConfigurationError(
            f"An enterprise account needs --enterprise, one of: {', '.join(sorted(known))}."
        )
    if role is not Role.ENTERPRISE and enterprise:
        raise ConfigurationError(f"An account of the role {role} belongs to no enterprise.")


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if len(password) < SHORTEST_PASSWORD:
        raise ConfigurationError(f"A password needs {SHORTEST_PASSWORD} characters at least.")
    return password


def _say(facts: dict[str, object], sentence: str, *, as_json: bool) -> None:
    if as_json:
        emit_json(facts)
    else:
        console.print(sentence, markup=False)
