"""Findings: what is wrong with data, as values that can be compared, counted and shown.

A check returns a list of them; an empty list is good news.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters: an error stops the use of the data, the others do not."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, with its place.

    component: table or part, such as ``line`` or ``station``.
    field: the column or quantity, such as ``max_i_ka``.
    ids: the elements concerned, as their own identifiers.
    message: one sentence for a person.
    """

    component: str
    field: str
    ids: tuple[int | str, ...]
    message: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        shown = ", ".join(str(i) for i in self.ids[:5])
        more = f" and {len(self.ids) - 5} more" if len(self.ids) > 5 else ""
        return f"{self.severity}: {self.component}.{self.field} [{shown}{more}]: {self.message}"


def errors(findings: list[Finding]) -> list[Finding]:
    """The findings that stop the use of the data."""
    return [f for f in findings if f.severity is Severity.ERROR]
