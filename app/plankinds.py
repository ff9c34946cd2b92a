"""The kinds of dispatch runs."""

DAY_AHEAD = "day_ahead"
"""The plan of the next natural day."""
INTRADAY = "intraday"
"""The rolling plan that is followed."""
WHOLE_DAY = "day"
"""A natural day asked for at a console: a comparison, its past steps measured; never followed."""
WHAT_IF = "what_if"
"""A run on a copy with another tariff, grid or fleet; never followed."""
FOLLOWED = (INTRADAY, DAY_AHEAD)
"""Kinds that can come into force; the first wins where both plan a step."""
