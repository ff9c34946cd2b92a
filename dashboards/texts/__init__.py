"""The words of the pages, in two complete languages: one TOML file each."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from core.errors import ConfigurationError

LANGUAGES = ("en", "zh")


class Words:
    """The texts of one language, asked for by their key."""

    def __init__(self, language: str, table: Mapping[str, str]) -> None:
        self.language = language
        self.table = MappingProxyType(dict(table))

    def __call__(self, key: str, **values: object) -> str:
        """The text of ``key`` with its places filled; ConfigurationError when there is none."""
        try:
            text = self.table[key]
        except KeyError:
            raise ConfigurationError(f"The text {key!r} is missing in {self.language}.") from None
        return text.format(**values) if values else text

    def pick(self, english: str, chinese: str) -> str:
        """The one of two texts that is in this language; the other where it is empty."""
        first, second = (chinese, english) if self.language == "zh" else (english, chinese)
        return first or second

    def maybe(self, key: str, otherwise: str) -> str:
        """The text of ``key``, or ``otherwise`` for a word nobody has translated."""
        return self.table.get(key, otherwise)


@cache
def words(language: str) -> Words:
    """The texts of ``language``; raises ConfigurationError for one we do not speak."""
    if language not in LANGUAGES:
        raise ConfigurationError(f"There are no texts in {language!r}, only in en and zh.")
    source = resources.files(__name__).joinpath(f"{language}.toml").read_text(encoding="utf-8")
    return Words(language, _flat(tomllib.loads(source)))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    table: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            table.update(_flat(value, f"{prefix}{name}."))
        else:
            table[f"{prefix}{name}"] = str(value)
    return table
