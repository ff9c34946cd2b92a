"""Whether a request that changes something may come from where it comes from.

A browser adds a session's cookie to whatever a page asks for; the cookie's SameSite=Lax stops most
of it, and this the rest (ASVS 5.0 3.5.1). Programs send neither of the headers and have no cookie.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request

from core.errors import PermissionDeniedError


def require_same_origin(request: Request) -> None:
    """Raises PermissionDeniedError for what another site's page made a browser send.

    A request with a token is its sender's own: no page can make a browser show one.
    """
    if request.headers.get("authorization"):
        return
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if site not in ("same-origin", "none") or foreign:
        raise PermissionDeniedError("The request comes from a page of another site.")
