"""``verdigrid account``: who may sign in, and tokens of machines. A city begins without any."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app import settings
from app.auth import hash_password
from app.commands.output import AsJson, emit, emit_json
from app.machinetokens import LONGEST_DAYS, new_token
from app.progress import console
from app.wiring import load_site, open_database, wall_now
from core.accounts import Role
from core.errors import ConfigurationError
from store import machines, users

group = typer.Typer(help="Accounts, and tokens of machines.", no_args_is_help=True)

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
    if role is Role.MACHINE:
        raise ConfigurationError(
            "Machines do not sign in: `verdigrid account token` makes a token."
        )
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
def close(name: Annotated[str, typer.Argument(help="Its name.")], as_json: AsJson = False) -> None:
    """Close an account; its sessions end at once."""
    with open_database(settings.load()) as database, database.connection() as connection:
        users.set_active(connection, name, active=False)
    _say({"name": name, "active": False}, f"{name} is closed.", as_json=as_json)


@group.command()
def token(
    name: Annotated[str, typer.Argument(help="The machine: a gateway or another system.")],
    label: Annotated[str, typer.Option(help="What the token is for.")] = "",
    days: Annotated[int, typer.Option(min=1, max=LONGEST_DAYS, help="Days it is valid.")] = 365,
    as_json: AsJson = False,
) -> None:
    """Make a token with which a machine hands in readings; it is shown this once."""
    with open_database(settings.load()) as database:
        number, secret = new_token(database, name, label=label, now=wall_now(), days=days)
    if as_json:
        emit_json({"id": number, "name": name, "token": secret, "days": days})
    else:
        sentence = f"Token {number} of {name}, for {days} days. Keep it: it is not shown again."
        console.print(sentence, markup=False)
        sys.stdout.write(f"{secret}\n")


@group.command("tokens")
def list_tokens(as_json: AsJson = False) -> None:
    """All tokens of machines, without their secrets."""
    now = wall_now()
    with open_database(settings.load()) as database, database.connection() as connection:
        rows = [
            {
                "id": t.id,
                "name": t.account,
                "label": t.label,
                "expires_at": t.expires_at,
                "seen_at": t.seen_at,
                "in_use": t.active and t.revoked_at is None and t.expires_at > now,
            }
            for t in machines.tokens(connection)
        ]
    columns = ("id", "name", "label", "expires_at", "seen_at", "in_use")
    emit("Tokens", rows, columns, as_json=as_json)


@group.command("revoke")
def revoke_token(
    number: Annotated[int, typer.Argument(help="The id, as `tokens` lists it.")],
    as_json: AsJson = False,
) -> None:
    """Make a token worthless, at once."""
    with open_database(settings.load()) as database, database.connection() as connection:
        machines.revoke(connection, number, wall_now())
    _say({"id": number, "in_use": False}, f"Token {number} is revoked.", as_json=as_json)


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
