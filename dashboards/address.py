"""The state of a view lives in its address, so that a link reproduces what its sender saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import parse_qs, quote, urlencode, urlsplit

PREFIX = "/app/"
LANGUAGES = ("en", "zh")
THEMES = ("light", "dark")
DAYS = (1, 2, 7)
PICKED = (
    ("station", "station"),
    ("enterprise", "enterprise"),
    ("series", "series"),
    ("kind", "kind"),
    ("asset", "asset"),
    ("base", "base_run"),
    ("run", "other_run"),
    ("q", "search"),
)
"""What a page's pickers write into the address, and the field of the view that holds it."""
LONGEST_PICK = 200


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at, and how.

    page: the page's path below the prefix, empty for the first page. days: how many natural
    days of the city the charts cover, today being the last. station, enterprise, series, kind,
    asset, base_run, other_run: what was picked; empty for the page's own choice. search: words
    looked for.
    """

    page: str = ""
    language: str = "en"
    theme: str = "light"
    days: int = 1
    station: str = ""
    enterprise: str = ""
    series: str = ""
    kind: str = ""
    asset: str = ""
    base_run: str = ""
    other_run: str = ""
    search: str = ""

    @property
    def dark(self) -> bool:
        return self.theme == "dark"

    def to(self, **changes: object) -> str:
        """The address of this view with ``changes``."""
        view = replace(self, **changes)  # type: ignore[arg-type]
        query = {"lang": view.language, "theme": view.theme}
        if view.days != DAYS[0]:
            query["days"] = str(view.days)
        query |= {name: value for name, field in PICKED if (value := getattr(view, field))}
        return f"{PREFIX}{quote(view.page)}?{urlencode(query)}"


def parse(address: str | None) -> View:
    """The view of an address; whatever cannot be used falls back to the default."""
    parts = urlsplit(address or "")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    days = query.get("days", "")
    return View(
        page=parts.path.removeprefix(PREFIX.rstrip("/")).strip("/"),
        language=_one_of(query.get("lang", ""), LANGUAGES),
        theme=_one_of(query.get("theme", ""), THEMES),
        days=int(days) if days in {str(d) for d in DAYS} else DAYS[0],
        **{field: query.get(name, "")[:LONGEST_PICK] for name, field in PICKED},
    )


def _one_of(value: str, allowed: tuple[str, ...]) -> str:
    return value if value in allowed else allowed[0]
