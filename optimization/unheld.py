"""Limits that a plan could not hold, with what it would take to hold them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from core.findings import Finding, Severity
from grid.limits import excesses
from grid.limits import violations as network_violations
from grid.sensitivity import TABLE, Quantity, gradients
from optimization.fleet import Fleet
from optimization.keyfigures import exchange_violations


def unheld(fleet: Fleet, flow: xr.Dataset) -> list[Finding]:
    """One finding per element whose limit ``flow``, a plan's power flow, does not keep."""
    problem = fleet.problem
    found = network_violations(
        problem.network, flow, max_loading_percent=problem.max_loading_percent
    )
    needs = _needs(fleet, flow)
    told = [_said(f, needs.get((f.component, f.field, _side(f), int(f.ids[0])), "")) for f in found]
    return [*told, *[_said(f, "") for f in exchange_violations(problem, flow)]]


def _said(finding: Finding, need: str) -> Finding:
    text = f"{finding.message} No schedule of the resources was found that holds it.{need}"
    return replace(finding, message=text, severity=Severity.ERROR)


def _side(finding: Finding) -> int:
    return -1 if " is below " in finding.message else 1


def _needs(fleet: Fleet, flow: xr.Dataset) -> dict[tuple[str, str, int, int], str]:
    """What the worst step of each broken limit would take, by (table, field, side, id).

    By the sensitivities: power at the bus that moves the quantity most, or the limit that would
    have to be allowed instead.
    """
    problem, network = fleet.problem, fleet.problem.network
    needs: dict[tuple[str, str, int, int], str] = {}
    for excess in excesses(network, flow, max_loading_percent=problem.max_loading_percent):
        elements = np.flatnonzero(excess.violated.any(axis=0))
        if not len(elements):
            continue
        steps = excess.values[:, elements].argmax(axis=0)
        gradient = gradients(network, flow, excess.quantity, steps, elements)
        table = TABLE[excess.quantity]
        field = "vm_pu" if excess.quantity is Quantity.VM_PU else "loading_percent"
        ids = network.ids(table)
        for row, element in enumerate(elements.tolist()):
            effect = gradient.per_mw[row]
            bus = int(np.abs(effect).argmax())
            over = float(excess.values[steps[row], element])
            value = float(flow[excess.quantity.value].values[steps[row], element])
            key = (table, field, excess.side, int(ids[element]))
            if abs(effect[bus]) < 1e-12:
                continue
            less_fed = excess.side * effect[bus] > 0
            what = "less fed in or more drawn" if less_fed else "less drawn or more fed in"
            unit = "pu" if excess.quantity is Quantity.VM_PU else "%"
            digits = 4 if unit == "pu" else 1
            needs[key] = (
                f" It would take about {over / abs(effect[bus]):.2f} MW {what} at bus "
                f"{int(network.buses[bus])}, or a limit of {value:.{digits}f} {unit}."
            )
    return needs
