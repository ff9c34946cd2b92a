"""Admission: unknown devices of a piece that fit a profile are taken in before it is mapped.

The pipeline does the same for messages (ingest/pipeline.py); this is for columns: files, uploads.
Their profiles have the protocol ``readings``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from core.errors import StoreError, StoreUnavailableError
from core.sites import Registration
from ingest.columns import BY_KEY
from ingest.decoded import Name
from ingest.mapping import TagMap
from ingest.sinks import Sink

_log = logging.getLogger(__name__)

READINGS = "readings"
"""NAME of ingest/protocols/readings_json.py."""


def admit(names: Iterable[Name], protocol: str, tag_map: TagMap, sink: Sink) -> dict[str, str]:
    """Take in the unknown devices of ``names``; why those that stay unknown are refused.

    Raises StoreUnavailableError when the store is away; a refusal of the store leaves them unknown.
    """
    if tag_map.registrar is None:
        return {}
    unknown: dict[str, list[str]] = {}
    for device, tag, _ in names:
        if tag != BY_KEY and device not in tag_map:
            unknown.setdefault(device, []).append(tag)
    plans = {d: tag_map.registrar.plan(protocol, d, tags) for d, tags in unknown.items()}
    planned = [plan for plan in plans.values() if isinstance(plan, Registration)]
    if planned:
        try:
            tag_map.add(sink.register(planned))
        except StoreUnavailableError:
            raise
        except StoreError as error:
            _log.warning("the store refused new devices", extra={"reason": str(error)})
    return {device: plan for device, plan in plans.items() if isinstance(plan, str)}
