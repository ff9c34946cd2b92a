"""pandapower's Excel workbook: one sheet for each table of elements."""

from __future__ import annotations

import io
import warnings

import pandas as pd
from pandapower.convert_format import convert_format
from pandapower.io_utils import from_dict_of_dfs, to_dict_of_dfs

from core.errors import NetworkError
from grid.network import Network, checked_tables
from grid.reasons import first_line

NAME = "pandapower Excel"
EXTENSIONS = (".xlsx",)


def read(data: bytes) -> Network:
    """The network of a workbook; raises NetworkError when it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas and openpyxl, about styles and dtypes
            sheets = pd.read_excel(
                io.BytesIO(data), sheet_name=None, index_col=0, engine="openpyxl"
            )
            net = from_dict_of_dfs(sheets)
            convert_format(net)
    except Exception as error:  # a hostile file may raise anything, and the cause is kept
        raise NetworkError(
            f"The file is not readable as a pandapower workbook: {first_line(error)}"
        ) from error
    return checked_tables(net)


def write(network: Network) -> bytes:
    """``network`` as a workbook, results left out."""
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = to_dict_of_dfs(network.net, include_results=False, include_empty_tables=False)
        # pandapower's to_excel wants xlsxwriter and a path; the sheets are the same.
        with pd.ExcelWriter(target, engine="openpyxl") as writer:
            for name, table in tables.items():
                table.to_excel(writer, sheet_name=name)
    return target.getvalue()
