"""SQL as named blocks in store/queries/*.sql; ``-- name: xyz`` begins one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import LiteralString, cast

from psycopg.sql import SQL

from core.errors import ConfigurationError

_NAME = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)


@cache
def load(file: str) -> Mapping[str, SQL]:
    """The blocks of ``store/queries/<file>.sql`` by name.

    Raises ConfigurationError for text before the first name, a double name or an empty block.
    """
    text = files("store").joinpath("queries", f"{file}.sql").read_text(encoding="utf-8")
    return parse(text, file)


def parse(text: str, file: str) -> Mapping[str, SQL]:
    """The named blocks of ``text``; ``file`` names it in errors."""
    before, *parts = _NAME.split(text)
    blocks: dict[str, SQL] = {}
    if _bare(before):
        raise ConfigurationError(f"queries/{file}.sql has SQL before its first '-- name:'.")
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in blocks or not _bare(body):
            raise ConfigurationError(f"queries/{file}.sql has {name!r} twice or empty.")
        # The text is a file of ours, as literal as one in the code.
        blocks[name] = SQL(cast(LiteralString, body.strip()))
    return MappingProxyType(blocks)


def _bare(sql: str) -> str:
    return re.sub(r"--.*", "", sql).strip()
