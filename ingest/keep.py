"""``keep``: which values of a device are to be read, of those that it names itself.

A profile's parameter, as in ``"keep": ["pm2_5", "temp*"]``: patterns of tags with ``*`` and ``?``
as in a shell; by default all. What is left out is known and not wanted: it is passed over, and
fills no quarantine. For protocols whose devices say more than anybody described: ChirpStack and
SenML, where a name that leads nowhere is looked up, and HJ 212, where a frame is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from core.errors import ConfigurationError
from core.sites import DeviceProfile


def keep_of(profile: DeviceProfile) -> tuple[str, ...]:
    """The patterns of ``profile``; empty for all tags. Raises ConfigurationError for no list."""
    patterns = profile.parameters.get("keep", ())
    if not isinstance(patterns, list | tuple) or not all(
        isinstance(pattern, str) and pattern for pattern in patterns
    ):
        raise ConfigurationError(
            f"The device profile {profile.name!r} cannot be used: 'keep' is not a list of patterns "
            "of tags."
        )
    return tuple(patterns)


def is_kept(tag: str, patterns: Sequence[str]) -> bool:
    """Whether ``tag`` is to be read by ``patterns``."""
    return not patterns or any(fnmatchcase(tag, pattern) for pattern in patterns)
