"""The error tree: broken code or a broken surrounding is an exception, bad data is a finding.

Each docstring is the sentence a user reads when no better one is given. A raiser that knows
the name of the thing passes its own sentence: what is wrong, and what to do about it.
"""

from __future__ import annotations


class VerdigridError(Exception):
    """Verdigrid could not go on."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


def reason(error: BaseException) -> str:
    """What a user is told: the sentence of a VerdigridError, else what kind of error it was too."""
    return str(error) if isinstance(error, VerdigridError) else f"{type(error).__name__}: {error}"


class ConfigurationError(VerdigridError):
    """A setting is missing or has a value that cannot be used."""


class UnitError(VerdigridError):
    """A unit is unknown or does not measure the wanted quantity."""


class TimeError(VerdigridError):
    """A time has no zone, or an interval is empty or misaligned."""


class DecodeError(VerdigridError):
    """A message cannot be read; it belongs in quarantine."""


class TooLargeError(DecodeError):
    """A request or a file holds more than one may."""


class MappingError(VerdigridError):
    """A vendor tag cannot be mapped to a series."""


class SpoolFullError(VerdigridError):
    """The spool is full; the sender has to keep what it has and send it again later."""


class NetworkError(VerdigridError):
    """A network model cannot be read or does not hold together."""


class PowerFlowError(VerdigridError):
    """The power flow has no solution for the given injections."""


class NotOptimalError(VerdigridError):
    """Numbers were asked of a plan that has none."""


class StoreError(VerdigridError):
    """The database did not do what was asked."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached, or cannot work for now."""


class TooMuchError(StoreError):
    """More was asked for than can be read at once."""


class NotWaitingError(StoreError):
    """A run does not wait for the decision that is made on it."""


class StoreVersionError(StoreError):
    """The database or its data folder belongs to a version that cannot be used."""


class MigrationError(StoreError):
    """The schema cannot be brought to this version."""


class LedgerError(VerdigridError):
    """A ledger entry breaks a rule of the ledger."""


class IdempotencyConflictError(LedgerError):
    """The same idempotency key came with another content."""


class ServiceError(VerdigridError):
    """A process of the system could not be started or did not become ready."""


class PermissionDeniedError(VerdigridError):
    """The account does not have the permission for this."""


class NotSignedInError(PermissionDeniedError):
    """This is not open to everybody, and nobody has said who asks."""
