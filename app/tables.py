"""Tables of the store as rows that JSON and tables on a terminal understand."""

from __future__ import annotations

from typing import Any

import pandas as pd


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain dicts; missing values are None."""
    present = table.notna().to_dict("records")
    rows = table.astype(object).to_dict("records")
    return [
        {str(k): v if there[k] else None for k, v in row.items()}
        for row, there in zip(rows, present, strict=True)
    ]
