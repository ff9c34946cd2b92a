"""The kinds of dispatch runs."""

DAY_AHEAD = "day_ahead"
"""The plan of the next natural day."""
INTRADAY = "intraday"
"""The rolling plan that is followed."""
WHOLE_DAY = "day"
"""A natural day asked for at a console: a comparison, its past steps measured; never followed."""
