"""Who may do what: roles, permissions and the account a request is made by.

One function, ``check``, answers for API routes, Dash callbacks and commands alike; how an
account is found (session, token, command line) is app's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from core.errors import NotSignedInError, PermissionDeniedError


class Permission(StrEnum):
    """What can be asked for, as ``desk.action``."""

    OVERVIEW_READ = "overview.read"
    DISPATCH_READ = "dispatch.read"
    DISPATCH_RUN = "dispatch.run"
    DISPATCH_APPROVE = "dispatch.approve"  # put a proposed plan into force, or refuse it
    ENVIRONMENT_READ = "environment.read"
    CARBON_READ = "carbon.read"  # one's own enterprise
    CARBON_READ_ALL = "carbon.read_all"
    ALERTS_READ = "alerts.read"
    ALERTS_ACKNOWLEDGE = "alerts.acknowledge"
    DATA_READ = "data.read"
    READINGS_WRITE = "readings.write"
    QUARANTINE_MEND = "quarantine.mend"  # look at what could not be read, and replay it


class Role(StrEnum):
    """The desks of a city. ``admin`` is the person who runs the installation.

    ``machine`` is nobody's desk: a gateway or another system that hands in readings by a token.
    """

    PUBLIC = "public"
    ENTERPRISE = "enterprise"
    BUREAU = "bureau"
    OPERATOR = "operator"
    ADMIN = "admin"
    MACHINE = "machine"


_PUBLIC = frozenset({Permission.OVERVIEW_READ, Permission.ENVIRONMENT_READ})

GRANTS: MappingProxyType[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.PUBLIC: _PUBLIC,
        Role.ENTERPRISE: _PUBLIC | {Permission.CARBON_READ},
        Role.BUREAU: _PUBLIC
        | {
            Permission.ALERTS_READ,
            Permission.ALERTS_ACKNOWLEDGE,
            Permission.CARBON_READ_ALL,
            Permission.CARBON_READ,
            Permission.DATA_READ,
            Permission.QUARANTINE_MEND,
        },
        Role.OPERATOR: _PUBLIC
        | {
            Permission.DISPATCH_READ,
            Permission.DISPATCH_RUN,
            Permission.DISPATCH_APPROVE,
            Permission.ALERTS_READ,
            Permission.ALERTS_ACKNOWLEDGE,
            Permission.DATA_READ,
        },
        Role.ADMIN: frozenset(Permission),
        Role.MACHINE: _PUBLIC | {Permission.READINGS_WRITE},
    }
)


@dataclass(frozen=True, slots=True)
class Account:
    """An account. ``owner`` is the enterprise an enterprise account belongs to, else empty."""

    name: str
    role: Role
    owner: str = ""

    def may(self, permission: Permission) -> bool:
        """Whether the account has ``permission``."""
        return permission in GRANTS[self.role]


def check(account: Account, permission: Permission) -> Account:
    """``account`` itself; raises PermissionDeniedError when it lacks ``permission``.

    NotSignedInError, which is one, for the account of whoever has not signed in.
    """
    if not account.may(permission):
        lacks = f"The account {account.name!r} ({account.role}) lacks the permission {permission}"
        if account.role is Role.PUBLIC:
            raise NotSignedInError(f"{lacks}; sign in, or show a token.")
        raise PermissionDeniedError(f"{lacks}.")
    return account
