"""What the columns of a file mean, declared in a small document in TOML or JSON.

    files = "meter_*.csv"              # which files it is for, in a drop folder
    encoding = "gb18030"               # utf-8 unless said; CSV only, as are the next two
    delimiter = ";"
    decimal = ","
    sheet = "Export"                   # Excel only: the first sheet unless said
    header_row = 3                     # the row with the names of the columns, from 1
    missing = ["-", "n/a"]             # cells that hold no value

    [time]
    column = "time"                    # or columns = ["date", "time"], joined by a space
    format = "%d.%m.%Y %H:%M"          # as Python's strptime; or iso, unix_s, unix_ms, excel
    timezone = "Europe/Berlin"         # of times that name no zone
    label = "end"                      # times label the end of intervals; begin unless said
    interval_s = 900                   # how long an interval is; needed for label = "end"
    fold = "order"                     # a time shown twice: by the order of rows, first, second

    [columns]                          # one row, one reading: which column is what
    device = "meter no"
    tag = "register"
    value = "reading"
    unit = "unit"                      # unit and quality may be missing

    [constants]                        # what stands in no column
    tag = "p"

    [[values]]                         # one row, many readings: the columns with values
    column = "P (kW)"
    device = "meter-1"                 # or the column or constant above
    tag = "p"                          # the column's name unless said
    unit = "kW"

A file without a mapping has the columns device, tag, unit, ts, value and quality.
"""

from __future__ import annotations

import codecs
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

from core.errors import ConfigurationError, TimeError
from core.timeaxis import zone
from ingest.localtimes import Fold

SUFFIXES = (".toml", ".json")
TIME_FORMATS = ("iso", "unix_s", "unix_ms", "excel")
_TEXTS = ("device", "tag", "unit", "quality")
_LARGEST_BYTES = 1_000_000
_LONGEST_INTERVAL_S = 366 * 86_400


@dataclass(frozen=True, slots=True)
class TimeRule:
    """How the time of a row is read.

    columns: joined by a space where they are more than one. format: one of TIME_FORMATS or a
    pattern of strptime. timezone: an IANA name, empty where every time has its zone.
    back_us: what is taken off a time so that it labels the beginning of its interval.
    """

    columns: tuple[str, ...] = ("ts",)
    format: str = "iso"
    timezone: str = ""
    fold: Fold = Fold.ORDER
    back_us: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Where a text of a reading stands: in a column, which may be absent, or here."""

    column: str = ""
    constant: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """A reading of a row: the column of its value, and where the rest stands."""

    column: str
    device: Source
    tag: Source
    unit: Source
    quality: Source


LONG = Measure(
    "value",
    Source("device"),
    Source("tag"),
    Source("unit", optional=True),
    Source("quality", optional=True),
)


@dataclass(frozen=True, slots=True)
class FileMapping:
    """A mapping document; the module says what its fields mean.

    wide: whether a row has many readings. missing: cells that hold no value and are no error;
    so are empty ones in a wide table, and wherever there are other such cells.
    """

    name: str = ""
    files: str = ""
    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."
    sheet: str = ""
    header_row: int = 1
    missing: tuple[str, ...] = ()
    time: TimeRule = TimeRule()
    measures: tuple[Measure, ...] = (LONG,)
    wide: bool = False

    def columns(self, present: Iterable[str]) -> tuple[str, ...]:
        """The columns to read of a file that has those of ``present``, each once.

        Raises ConfigurationError naming those that are missing.
        """
        there = set(present)
        wanted = [Source(name) for name in self.time.columns]
        for m in self.measures:
            wanted += [m.device, m.tag, Source(m.column), m.unit, m.quality]
        used = dict.fromkeys(s.column for s in wanted if s.column)
        optional = {s.column for s in wanted if s.optional}
        missing = [name for name in used if name not in there and name not in optional]
        if missing:
            raise ConfigurationError(f"has no column {', '.join(missing)}")
        return tuple(name for name in used if name in there)


PLAIN = FileMapping()


def read(path: Path) -> FileMapping:
    """The mapping in ``path``; raises ConfigurationError, one sentence naming file and field."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ConfigurationError(f"The mapping {path.name} is too large to be one.")
        text = path.read_text("utf-8")
        tree = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"The mapping {path} cannot be read: {error}.") from error
    return of_tree(tree, path.name)


def read_folder(folder: Path) -> tuple[FileMapping, ...]:
    """The mappings of a folder, by name; none where there is no such folder."""
    if not folder.is_dir():
        return ()
    return tuple(read(p) for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES)


def beside(path: Path) -> FileMapping | None:
    """The mapping that lies beside a file: ``readings.csv.toml`` or ``readings.toml``."""
    for stem in (path.name, path.stem):
        for suffix in SUFFIXES:
            found = path.with_name(stem + suffix)
            if found.is_file() and not found.is_symlink():
                return read(found)
    return None


def choose(path: Path, mappings: Iterable[FileMapping]) -> FileMapping:
    """The mapping of a file: the one beside it, else the one whose ``files`` it fits, else PLAIN.

    Raises ConfigurationError when it fits two.
    """
    own = beside(path)
    if own is not None:
        return own
    fitting = [m for m in mappings if m.files and fnmatchcase(path.name, m.files)]
    if len(fitting) > 1:
        names = " and ".join(m.name for m in fitting)
        raise ConfigurationError(
            f"The mappings {names} are both for {path.name}; make one of their patterns narrower."
        )
    return fitting[0] if fitting else PLAIN


def of_tree(tree: object, name: str) -> FileMapping:
    """The mapping of a document that has been parsed; ConfigurationError names what is wrong."""
    document = _Part(tree, f"The mapping {name}")
    measures, wide = _measures(document)
    made = FileMapping(
        name=name,
        files=document.text("files", ""),
        encoding=_encoding(document),
        delimiter=document.character("delimiter", ","),
        decimal=document.one_of("decimal", (".", ",")),
        sheet=document.text("sheet", ""),
        header_row=int(document.number("header_row", 1, 1, 10_000, whole=True)),
        missing=document.texts("missing"),
        time=_time(document.part("time")),
        measures=measures,
        wide=wide,
    )
    if made.decimal == made.delimiter:
        document.refuse("decimal and delimiter are the same sign")
    document.end()
    return made


def of_site(parameters: Mapping[str, Any]) -> tuple[FileMapping, ...]:
    """The mappings in the description of a city: ``parameters["file_mappings"]``, name to tree."""
    trees = parameters.get("file_mappings", {})
    if not isinstance(trees, Mapping):
        raise ConfigurationError("file_mappings in the description of the city is no object.")
    return tuple(of_tree(tree, str(name)) for name, tree in trees.items())


def _encoding(document: _Part) -> str:
    name = document.text("encoding", "utf-8")
    try:
        "1".encode(name)  # there are codecs that are no encodings of texts
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        document.refuse(f"there is no encoding {name!r}")


def _time(part: _Part) -> TimeRule:
    columns = part.texts("columns")
    if not columns:
        columns = (part.text("column", "ts"),)
    form = part.text("format", "iso")
    if form not in TIME_FORMATS and not _usable(form):
        part.refuse(f"format {form!r} is neither {', '.join(TIME_FORMATS)} nor a date pattern")
    name = part.text("timezone", "")
    if name:
        try:
            zone(name)
        except TimeError as error:
            part.refuse(str(error).rstrip("."))
    interval_s = part.number("interval_s", 0.0, 0.0, _LONGEST_INTERVAL_S)
    end = part.one_of("label", ("begin", "end")) == "end"
    if end and not interval_s:
        part.refuse('label = "end" needs interval_s')
    fold = Fold(part.one_of("fold", tuple(Fold)))
    part.end()
    return TimeRule(columns, form, name, fold, round(interval_s * 1e6) if end else 0)


def _usable(pattern: str) -> bool:
    """Whether a pattern of strptime tells the day of what it reads."""
    day = datetime(2026, 11, 23, tzinfo=UTC)
    try:
        return datetime.strptime(day.strftime(pattern), pattern).date() == day.date()  # noqa: DTZ007
    except ValueError:
        return False


def _measures(document: _Part) -> tuple[tuple[Measure, ...], bool]:
    """Where the readings of a row stand, and whether the table is a wide one."""
    columns, constants = document.part("columns"), document.part("constants")
    common = {name: _source(name, columns, constants) for name in _TEXTS}
    wide = document.parts("values")
    if not wide:
        measure = Measure(columns.text("value", "value"), **common)
        columns.end()
        constants.end()
        return (measure,), False
    columns.end()
    constants.end()
    found = tuple(_wide(part, common) for part in wide)
    names = [m.column for m in found]
    if len(set(names)) < len(names):
        document.refuse("two entries of values name the same column")
    return found, True


def _source(name: str, columns: _Part, constants: _Part) -> Source:
    constant, column = constants.text(name, ""), columns.text(name, "")
    if constant and column:
        columns.refuse(f"{name} is also a constant")
    if constant or column:
        return Source(column, constant)
    return Source(name, optional=name in ("unit", "quality"))


def _wide(part: _Part, common: Mapping[str, Source]) -> Measure:
    column = part.text("column", "")
    if not column:
        part.refuse("column is missing")
    own = {name: part.text(name, "") for name in ("device", "tag", "unit")}
    sources = dict(common)
    # Where many columns hold values, a column of tags or units could not tell which is meant.
    sources["tag"] = Source(constant=own["tag"] or common["tag"].constant or column)
    sources["unit"] = Source(constant=own["unit"] or common["unit"].constant)
    if sources["quality"].optional:
        sources["quality"] = Source()
    if own["device"]:
        sources["device"] = Source(constant=own["device"])
    part.end()
    return Measure(column, **sources)


class _Part:
    """An object of the document, read field by field; what is left at the end is unknown."""

    def __init__(self, tree: object, where: str) -> None:
        self._where = where
        if not isinstance(tree, Mapping):
            self.refuse("an object was expected")
        self._left: dict[str, Any] = dict(tree)

    def refuse(self, why: str) -> NoReturn:
        raise ConfigurationError(f"{self._where} cannot be used: {why}.")

    def text(self, name: str, default: str) -> str:
        value = self._left.pop(name, default)
        if not isinstance(value, str) or not (value == default or value.isprintable()):
            self.refuse(f"{name} is no printable text")
        return value

    def character(self, name: str, default: str) -> str:
        value = self._left.pop(name, default)
        if not isinstance(value, str) or len(value) != 1 or not value.isascii() or value in '"\r\n':
            self.refuse(f"{name} is not a single sign")
        return value

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``, of which the first is the default."""
        value = self._left.pop(name, choices[0])
        if value not in choices:
            self.refuse(f"{name} is none of {', '.join(choices)}")
        return str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._left.pop(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.refuse(f"{name} is no list of texts")
        return tuple(value)

    def number(
        self, name: str, default: float, lowest: float, highest: float, *, whole: bool = False
    ) -> float:
        value = self._left.pop(name, default)
        kinds = int if whole else int | float
        if (
            isinstance(value, bool)
            or not isinstance(value, kinds)
            or not lowest <= value <= highest
        ):
            self.refuse(f"{name} is no number between {lowest} and {highest}")
        return float(value)

    def part(self, name: str) -> _Part:
        return _Part(self._left.pop(name, {}), f"{self._where} [{name}]")

    def parts(self, name: str) -> list[_Part]:
        found = self._left.pop(name, [])
        if not isinstance(found, list):
            self.refuse(f"{name} is no list")
        return [_Part(item, f"{self._where} {name}[{i}]") for i, item in enumerate(found)]

    def end(self) -> None:
        if self._left:
            self.refuse(f"{', '.join(map(str, self._left))} is not known")
