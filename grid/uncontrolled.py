"""What a resource does that nobody plans, where its past cannot tell.

The past of a load that a plan has moved for weeks says what the plan wanted. A heat pump, a boiler
or a pump with controls of its own would keep its store as full as it is.
"""

from __future__ import annotations

import numpy as np

from grid.envelope import Envelope


def by_itself(envelope: Envelope, dt_h: float) -> np.ndarray:
    """Power of a resource that holds its content where it is, MW in its own sign, (time,).

    Within its bounds, which it goes back to where it lies outside, as far as power reaches; what
    is switched runs where it is needed at half its least power or more. Without an account it
    stays at its base: an engine is off.
    """
    account, power = envelope.account, envelope.base_mw.copy()
    if account is None:
        return power
    least = 0.0 if envelope.commitment is None else envelope.commitment.p_on_min_mw
    content = account.initial_mwh
    for t in range(envelope.steps):
        wanted = min(max(account.initial_mwh, account.min_mwh[t]), account.max_mwh[t])
        alone = account.keep[t] * content + account.inflow_mwh[t]
        gain = dt_h * account.gain_up[t]
        raised = min(max((wanted - alone) / gain, 0.0), envelope.up_mw[t]) if gain > 0.0 else 0.0
        raised = max(raised, least) if raised >= 0.5 * least else 0.0
        content = alone + gain * raised
        if account.spill_cny_per_mwh is not None:
            content = min(content, account.max_mwh[t])
        power[t] += raised
    return power
