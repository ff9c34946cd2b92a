"""File formats of network models: one file per format, found by this folder.

A format is a module with ``NAME``, ``EXTENSIONS`` (with their dot), ``read(data: bytes) ->
Network`` and ``write(network: Network) -> bytes``. A new format is a new file here; nothing else
changes. Bytes come in and go out: files are the business of the caller. What cannot be read or
written raises NetworkError with one sentence.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from types import MappingProxyType

from core.errors import ConfigurationError, NetworkError
from grid.network import Network


@dataclass(frozen=True, slots=True)
class Format:
    """One format: its name, the extensions of its files, and both directions."""

    name: str
    extensions: tuple[str, ...]
    read: Callable[[bytes], Network]
    write: Callable[[Network], bytes]


def found() -> Mapping[str, Format]:
    """All formats by name; ConfigurationError for a file that is none or repeats an extension."""
    return _found(tuple(__path__))


def read(data: bytes, file_name: str) -> Network:
    """The network in ``data``, whose format the extension of ``file_name`` tells.

    Raises NetworkError when no format has that extension or the data cannot be read.
    """
    return of_file(file_name).read(data)


def write(network: Network, file_name: str) -> bytes:
    """``network`` as the content of a file of that name; NetworkError where it cannot be."""
    return of_file(file_name).write(network)


def of_file(file_name: str) -> Format:
    """The format of a file, by its extension; NetworkError names those there are."""
    extension = PurePath(file_name).suffix.lower()
    known = {e: f for f in found().values() for e in f.extensions}
    if extension not in known:
        raise NetworkError(
            f"No format of networks has files named like {PurePath(file_name).name}; there are: "
            f"{', '.join(sorted(known))}."
        )
    return known[extension]


@cache
def _found(folders: tuple[str, ...]) -> Mapping[str, Format]:
    formats: dict[str, Format] = {}
    extensions: dict[str, str] = {}
    names = sorted(m.name for m in pkgutil.iter_modules(folders) if not m.name.startswith("_"))
    for name in names:
        module = importlib.import_module(f"{__name__}.{name}")
        needed = ("NAME", "EXTENSIONS", "read", "write")
        if any(not hasattr(module, part) for part in needed):
            raise ConfigurationError(f"grid/formats/{name}.py lacks one of {', '.join(needed)}.")
        for extension in module.EXTENSIONS:
            if extension in extensions:
                raise ConfigurationError(f"grid/formats/{name}.py repeats {extension}.")
            extensions[extension] = name
        if module.NAME in formats:
            raise ConfigurationError(f"grid/formats/{name}.py repeats the name {module.NAME}.")
        formats[module.NAME] = Format(
            module.NAME, tuple(module.EXTENSIONS), module.read, module.write
        )
    return MappingProxyType(formats)
