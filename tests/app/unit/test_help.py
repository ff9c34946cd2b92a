"""Help is whole: every command, argument and option says what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from app import cli


def commands(path: str, found: Any) -> Iterator[tuple[str, Any]]:
    """Every command below ``found`` with its whole name."""
    below = getattr(found, "commands", None)
    if below is None:
        yield path, found
        return
    for name, command in below.items():
        yield from commands(f"{path} {name}", command)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_parameter_is_explained(name: str) -> None:
    wanted = get_command(cli.build(name)).commands[name]  # type: ignore[attr-defined]
    silent = [
        f"{path}: {parameter.name}"
        for path, command in commands(name, wanted)
        for parameter in command.params
        if not getattr(parameter, "help", None)
    ]
    silent += [path for path, command in commands(name, wanted) if not command.help]
    assert silent == []
