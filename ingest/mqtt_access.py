"""How an MQTT broker is reached: address, user, TLS; and one sentence for each way that fails.

For the receiver and for whoever publishes. Over TLS the broker's certificate is always checked,
chain and host name, against the system's authorities or a CA file; there is no way round it.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import ConfigurationError

DIAL_S = 5.0
"""How long a connection may take to be made, and TLS to be agreed on."""

_EXPIRED, _NOT_YET = 10, 9
_OTHER_NAME = frozenset({62, 64})  # host name, IP address
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})


@dataclass(frozen=True, slots=True)
class Access:
    """Where a broker is and how it lets us in.

    ca: PEM file of the authorities to trust in place of the system's. certificate, key: PEM files
    of a client certificate, for brokers that ask for one; the key must not need a passphrase.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def context(self) -> ssl.SSLContext | None:
        """What TLS needs, None without it; raises ConfigurationError for files of no use."""
        if not self.tls:
            if self.ca or self.certificate or self.key:
                raise ConfigurationError(
                    "Certificates for the MQTT broker are named, but TLS is off; "
                    "set VERDIGRID_BROKER_TLS=true."
                )
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ConfigurationError(
                f"The CA file {self.ca} of the MQTT broker cannot be read: {_said(error)}."
            ) from error
        if bool(self.certificate) != bool(self.key):
            raise ConfigurationError("A client certificate needs both its file and its key file.")
        if self.certificate:
            try:
                # An empty passphrase, or OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.certificate, self.key, password="")
            except OSError as error:
                raise ConfigurationError(
                    f"The client certificate {self.certificate} or its key {self.key} cannot be "
                    f"used: {_said(error)}."
                ) from error
        return context


def dial(access: Access, context: ssl.SSLContext | None) -> socket.socket:
    """A connection to the broker, TLS agreed on; raises OSError, for ``failure`` to explain."""
    line = socket.create_connection((access.host, access.port), DIAL_S)
    try:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(line, server_hostname=access.host) if context else line
    except BaseException:
        line.close()
        raise


def failure(access: Access, error: OSError) -> str:
    """Why a connection failed or broke, in one sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrust(access, error)
    if isinstance(error, ConnectionResetError | BrokenPipeError | ssl.SSLEOFError):
        hint = "; it may not speak TLS on this port" if access.tls else ""
        return f"The MQTT broker at {access} broke the connection{hint}."
    if isinstance(error, ssl.SSLError):
        return _no_agreement(access, error)
    if isinstance(error, socket.gaierror):
        return f"The name of the MQTT broker {access} is not known to this machine."
    return f"No MQTT broker answers at {access}: {_said(error)}."


def _distrust(access: Access, error: ssl.SSLCertVerificationError) -> str:
    broker = f"The certificate of the MQTT broker at {access}"
    if error.verify_code == _EXPIRED:
        return f"{broker} has expired; the broker needs a new one."
    if error.verify_code == _NOT_YET:
        return f"{broker} is not valid yet; compare the clocks of both machines."
    if error.verify_code in _OTHER_NAME:
        return f"{broker} was issued for another name; connect by the name it was issued for."
    if error.verify_code in _UNKNOWN_ISSUER:
        return f"{broker} is from an unknown authority; name its CA file by VERDIGRID_BROKER_CA."
    return f"{broker} is not trusted: {error.verify_message}."


def _no_agreement(access: Access, error: ssl.SSLError) -> str:
    broker, reason = f"The MQTT broker at {access}", error.reason or ""
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return (
            f"{broker} wants a client certificate; "
            "name one by VERDIGRID_BROKER_CERT and VERDIGRID_BROKER_KEY."
        )
    if "UNKNOWN_CA" in reason or "ALERT_BAD_CERTIFICATE" in reason or "EXPIRED" in reason:
        return f"{broker} does not trust our client certificate."
    if "WRONG_VERSION_NUMBER" in reason:
        return f"{broker} does not speak TLS on this port."
    return f"{broker} and we do not agree on TLS: {_said(error)}."


def _said(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or str(error) or type(error).__name__
