"""MATPOWER's case files as they are published: MATLAB text (``.m``).

Such a file is a program. What is read are its literal matrices, and the two statements by which
MATPOWER's distribution cases (case33bw, case69 and others) turn ohm into per unit and kW into MW.
A file that computes anything else with its matrices is refused: to read past it would give other
numbers than MATPOWER has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from core.errors import NetworkError
from grid.formats import _mpc
from grid.network import Network

NAME = "MATPOWER text"
EXTENSIONS = (".m",)

_ASSIGNED = re.compile(r"mpc\.(\w+)\s*=\s*(.*)", re.DOTALL)
_NEEDED = ("bus", "gen", "branch", "baseMVA", "bus_name")
_TO_PER_UNIT = "mpc.branch(:[BR_RBR_X])=mpc.branch(:[BR_RBR_X])/(Vbase^2/Sbase)"
_BASES = ("Vbase=mpc.bus(1BASE_KV)*1e3", "Sbase=mpc.baseMVA*1e6")
_TO_MW = "mpc.bus(:[PDQD])=mpc.bus(:[PDQD])/1e3"
_WORD = re.compile(r"(if|for|while|switch|try|else|elseif|parfor)\b")


def read(data: bytes) -> Network:
    """The network of a case file; raises NetworkError with what in it cannot be read."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # names of places in old files
    parts: dict[str, object] = {}
    computed: list[str] = []
    for statement in _statements(text):
        found = _ASSIGNED.fullmatch(statement)
        if found and not found[2].startswith("mpc"):
            if found[1] in _NEEDED:
                parts[found[1]] = _literal(found[1], found[2])
        elif _WORD.match(statement) or "mpc" in statement.split("=")[0]:
            computed.append(statement)
    case = _mpc.case_of(parts)
    _convert(case, [c for c in computed if not c.startswith("function")], text)
    return _mpc.to_network(case)


def write(network: Network) -> bytes:
    """``network`` as a case file; raises NetworkError where it has no electrical model."""
    case = _mpc.of_network(network)
    names = "\n".join(f"\t'{name}';" for name in case.bus_name)
    lines = [
        "function mpc = verdigrid_case",
        "mpc.version = '2';",
        f"mpc.baseMVA = {case.base_mva!r};",
        "%% bus_i type Pd Qd Gs Bs area Vm Va baseKV zone Vmax Vmin",
        _matrix("bus", case.bus),
        "%% bus Pg Qg Qmax Qmin Vg mBase status Pmax Pmin",
        _matrix("gen", case.gen),
        "%% fbus tbus r x b rateA rateB rateC ratio angle status angmin angmax",
        _matrix("branch", case.branch),
        f"mpc.bus_name = {{\n{names}\n}};",
    ]
    return ("\n".join(lines) + "\n").encode()


def _matrix(name: str, matrix: np.ndarray) -> str:
    rows = "\n".join("\t" + "\t".join(map(_number, row)) + ";" for row in matrix.tolist())
    return f"mpc.{name} = [\n{rows}\n];"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _statements(text: str) -> Iterator[str]:
    """Statements without comments; those in brackets keep their line ends."""
    depth, quoted, current = 0, False, ""
    for raw in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        line = raw
        continued = False
        for i, sign in enumerate(line):
            if quoted:
                quoted = sign != "'"
            elif sign == "%":
                break
            elif line.startswith("...", i):
                continued = True
                break
            elif sign == "'":
                quoted = not _transposes(line[:i])
            elif sign in "[{(":
                depth += 1
            elif sign in "]})":
                depth -= 1
            elif sign in ";," and depth == 0:
                if current.strip():
                    yield current.strip()
                current = ""
                continue
            current += sign
        quoted = False  # a string ends with its line
        if depth > 0 and not continued:
            current += "\n"
        elif not continued:
            if current.strip():
                yield current.strip()
            current = ""
    if depth:
        raise NetworkError("A bracket of the MATPOWER case is never closed; the file is cut off.")
    if current.strip():
        yield current.strip()


def _transposes(before: str) -> bool:
    """Whether a quote behind ``before`` is MATLAB's transpose."""
    return bool(before) and (before[-1].isalnum() or before[-1] in ")]}_.")


def _literal(name: str, text: str) -> object:
    """A number, a string, or the rows of a matrix or cell array."""
    if text[0] in "[{" and text[-1] in "]}":
        rows = [row for row in re.split(r"[;\n]", text[1:-1]) if row.strip()]
        if text[0] == "{":
            return [row.strip().strip("'\"") for row in rows]
        return _rows(name, rows)
    if text[0] in "'\"":
        return text.strip("'\"")
    return _value(name, text)


def _rows(name: str, rows: list[str]) -> np.ndarray:
    parsed = [[_value(name, word) for word in row.replace(",", " ").split()] for row in rows]
    widths = {len(row) for row in parsed}
    if len(widths) > 1:
        raise NetworkError(f"The rows of mpc.{name} have different lengths: {sorted(widths)}.")
    return np.array(parsed, dtype=float)


def _value(name: str, word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise NetworkError(f"mpc.{name} holds {word[:40]!r}, which is not a number.") from error


def _convert(case: _mpc.Case, computed: list[str], text: str) -> None:
    """Applies the two unit conversions of the distribution cases; refuses every other statement."""
    known = {re.sub(r"[\s,]", "", s) for s in _statements(text)}
    for statement in computed:
        plain = re.sub(r"[\s,]", "", statement)
        if plain == _TO_PER_UNIT and all(base in known for base in _BASES):
            case.branch[:, 2:4] /= case.bus[0, 9] ** 2 / case.base_mva
        elif plain == _TO_MW:
            case.bus[:, 2:4] /= 1e3
        else:
            raise NetworkError(
                f"The case file computes with its matrices ({' '.join(statement.split())[:80]}), "
                "which only MATLAB or Octave can do; save it from there with savecase."
            )
