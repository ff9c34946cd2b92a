"""Colours with a meaning: the same thing has the same colour on every page and in both themes.

Series colours are from the Okabe-Ito set, safe for colour-blind readers; air-quality levels
keep the standard's own colours (HJ 633).
"""

from __future__ import annotations

from dataclasses import dataclass

BLUE = "#0072B2"
SKY = "#56B4E9"
GREEN = "#009E73"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"

IMPORT, EXPORT = VERMILION, SKY
LOAD, PV, WIND = BLUE, ORANGE, GREEN
BATTERY, PRICE = PURPLE, BLUE
SERIES = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY)

LOADING_STEPS = ((0.0, 50.0, GREEN), (50.0, 80.0, ORANGE), (80.0, float("inf"), VERMILION))
"""Line loading in percent: from, to, colour. Thickness grows with the step, too."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level of the air quality index: up to and including ``maximum``."""

    key: str
    maximum: float
    colour: str


AQI_LEVELS = (
    Level("excellent", 50, "#00E400"),
    Level("good", 100, "#FFFF00"),
    Level("light", 150, "#FF7E00"),
    Level("moderate", 200, "#FF0000"),
    Level("heavy", 300, "#99004C"),
    Level("severe", float("inf"), "#7E0023"),
)


def aqi_level(aqi: float) -> Level:
    """The level an index belongs to."""
    return next(level for level in AQI_LEVELS if aqi <= level.maximum)


@dataclass(frozen=True, slots=True)
class Palette:
    """The neutral colours of a theme, for charts; the pages' own stand in assets/app.css."""

    ink: str
    muted: str
    grid: str
    ground: str
    baseline: str
    edge: str


LIGHT = Palette("#1b2024", "#59636b", "#e4e8ea", "#ffffff", "#8a949b", "#30383e")
DARK = Palette("#e6eaec", "#9ba6ad", "#2c353b", "#171d21", "#7d8890", "#0d1114")


def palette(dark: bool) -> Palette:
    """The neutral colours of the dark or the light theme."""
    return DARK if dark else LIGHT


def on_theme(colour: str, dark: bool) -> str:
    """A series colour as it is drawn: the set's blue is too dark to read on a dark ground."""
    return "#4A9FE0" if dark and colour == BLUE else colour


def translucent(colour: str, alpha: float) -> str:
    """A hex colour as rgba() with ``alpha``."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"
