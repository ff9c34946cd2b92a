"""What ``verdigrid dispatch --why`` shows: the sentence on a device and what decides on it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import numpy as np
import xarray as xr

from app.commands.output import emit_json, emit_table
from app.progress import console
from core.errors import ConfigurationError
from core.timeaxis import from_datetime64, zone
from optimization.explain import price_reason, why

_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
COLUMNS = (
    ("at", "at"),
    ("p_mw", "p, MW"),
    ("local_cny_per_mwh", "price there"),
    ("stored_cny_per_mwh", "stored value"),
    ("binding", "what decides"),
    ("binding_cny_per_mwh", "worth, CNY/MWh"),
)


def show_why(grounds: xr.Dataset, asset: str, at: str, *, as_json: bool, **more: Any) -> None:
    """Print why ``asset`` does what it does: at ``at`` (HH:MM, local), or where it moves most.

    grounds: of a plan. more: what stands beside it in the JSON. Raises ConfigurationError for an
    asset or a time the plan does not have.
    """
    t = step_of(grounds, asset, at)
    reason, price = why(grounds, asset, t), price_reason(grounds, t)
    rows = _rows(grounds, asset)
    if as_json:
        told = {
            "asset": asset,
            "ts": reason.ts,
            "text_en": reason.text_en,
            "text_zh": reason.text_zh,
            "binding": reason.binding,
            "price_en": price.text_en,
            "price_zh": price.text_zh,
            "steps": rows,
        }
        emit_json({**more, "why": told})
        return
    console.print(f"{asset}: {reason.text_en}.", markup=False, soft_wrap=True)
    console.print(f"{asset}：{reason.text_zh}。", markup=False, soft_wrap=True)
    console.print(f"{price.text_en[0].upper()}{price.text_en[1:]}.", markup=False, soft_wrap=True)
    emit_table(
        f"What decides on {asset} (prices in CNY/MWh)",
        [title for _, title in COLUMNS],
        [[row[name] for name, _ in COLUMNS] for row in rows],
    )


def step_of(grounds: xr.Dataset, asset: str, at: str) -> int:
    """The step that holds local time ``at``; without one, that in which ``asset`` moves most."""
    names = grounds["asset"].values.tolist()
    if asset not in names:
        known = ", ".join(names[:5]) or "none"
        raise ConfigurationError(f"The plan has no device {asset!r}; it has {known} and so on.")
    if not at:
        moved = grounds["raised_mw"].values + grounds["lowered_mw"].values
        return int(np.argmax(moved[:, names.index(asset)]))
    found = _CLOCK.fullmatch(at)
    if found is None:
        raise ConfigurationError(f"{at!r} is no time; write it as HH:MM.")
    wanted = timedelta(hours=int(found[1]), minutes=int(found[2]))
    tz = zone(str(grounds.attrs["timezone"]))
    length = timedelta(hours=float(grounds.attrs["dt_h"]))
    for t, ts in enumerate(grounds["time"].values):
        local = from_datetime64(ts).astimezone(tz)
        if timedelta(0) <= wanted - timedelta(hours=local.hour, minutes=local.minute) < length:
            return t
    raise ConfigurationError(f"The plan has no step at {at}.")


def _rows(grounds: xr.Dataset, asset: str) -> list[dict[str, Any]]:
    """Each step of a device: power, prices and what decides."""
    own = grounds.sel(asset=asset)
    limits, tz = grounds.attrs["limits"], zone(str(grounds.attrs["timezone"]))
    rows = []
    for t, ts in enumerate(own["time"].values):
        binding = str(int(own["binding"].values[t]))
        element = int(own["binding_element"].values[t])
        label = limits[binding][1]
        if element >= 0:
            label = f"{label} ({grounds['element'].values[element]})"
        stored = float(own["stored_cny_per_mwh"].values[t])
        rows.append(
            {
                "ts": from_datetime64(ts),
                "at": from_datetime64(ts).astimezone(tz).strftime("%H:%M"),
                "p_mw": float(own["p_mw"].values[t]),
                "local_cny_per_mwh": float(own["local_cny_per_mwh"].values[t]),
                "stored_cny_per_mwh": stored if np.isfinite(stored) else None,
                "binding": label,
                "binding_code": limits[binding][0],
                "binding_cny_per_mwh": float(own["binding_cny_per_mwh"].values[t]),
            }
        )
    return rows
