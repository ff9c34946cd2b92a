"""What a library says when it fails, as the end of one of our sentences."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def first_line(error: Exception) -> str:
    """The first line of what ``error`` says, without colours, or its kind where it says nothing."""
    text = _COLOUR.sub("", str(error)).strip().splitlines()
    return (text[0][:200] if text else type(error).__name__).rstrip(".") + "."
