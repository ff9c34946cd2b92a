"""The electric grid: network models, power flow, sensitivities, limits and DER envelopes."""
