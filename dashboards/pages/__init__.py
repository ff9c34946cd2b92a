"""The desks, one file each, found by this folder: NAME_page.py.

A page file has NAME (also the prefix of its text keys and ids), PATH (below the address
prefix), ORDER (in the navigation), ICON, PERMISSION, SLOTS (what ``fill`` keeps up to date:
slot name to component id and property), ``layout(scene)``, ``fill(scene)`` and
``register(desk)`` for callbacks of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Protocol, cast

from dash.development.base_component import Component

from core.accounts import Permission
from core.errors import ConfigurationError
from dashboards.scene import Desk, Scene


class Page(Protocol):
    """What every page file provides."""

    NAME: str
    PATH: str
    ORDER: int
    ICON: str
    PERMISSION: Permission
    SLOTS: Mapping[str, tuple[Any, str]]

    @staticmethod
    def layout(scene: Scene) -> Component:
        """The page with every slot empty; asks the store for nothing."""

    @staticmethod
    def fill(scene: Scene) -> Mapping[str, Any]:
        """The values of the slots as they are now; a slot left out stays as it is."""

    @staticmethod
    def register(desk: Desk) -> None:
        """Callbacks of the page's own, each through the guard."""


def find() -> tuple[Page, ...]:
    """All pages in the order of the navigation; ConfigurationError when one is not whole."""
    wanted = ("NAME", "PATH", "ORDER", "ICON", "PERMISSION", "SLOTS", "layout", "fill", "register")
    pages: list[Page] = []
    for info in pkgutil.iter_modules(__path__):
        if not info.name.endswith("_page"):
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        absent = [name for name in wanted if not hasattr(module, name)]
        if absent:
            raise ConfigurationError(f"The page {info.name} has no {', '.join(absent)}.")
        page = cast(Page, module)
        if any(page.PATH == other.PATH or page.NAME == other.NAME for other in pages):
            raise ConfigurationError(f"Two pages claim the path {page.PATH!r} or its name.")
        pages.append(page)
    return tuple(sorted(pages, key=lambda page: page.ORDER))
