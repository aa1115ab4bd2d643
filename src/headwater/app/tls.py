"""TLS of the listeners of a process: files read at the start and at SIGHUP, one set for all of them. Loads no service."""

import structlog

from headwater.http.application import Application
from headwater.http.certificates import Credentials, load_credentials
from headwater.http.config import HttpLimits, parse_listen
from headwater.http.listening import Listener
from headwater.http.tls import TlsServer
from headwater.kernel.clock import Clock, iso_utc

_logger = structlog.get_logger(__name__)

AT_ONCE = ("certificate", "private_key", "client_ca", "client_certificates")
"""Options of `tls` that a running process takes over."""


def credentials_of(limits: HttpLimits, *, clock: Clock, where: str) -> Credentials | None:
    """What the files that `limits` names hold; None where there is to be no TLS. Raises InvalidConfig."""
    if limits.tls is None:
        return None
    return load_credentials(limits.tls, now_s=clock.now_ms() / 1000, where=f"{where}.tls")


def listener_of(app: Application, listen: str, limits: HttpLimits, credentials: Credentials | None) -> Listener:
    """The listener of `app` at the address `listen`."""
    listener = Listener(*parse_listen(listen), app, limits)
    if limits.tls is not None and credentials is not None:
        listener.tls = TlsServer(
            credentials,
            handshake_timeout_s=limits.tls.handshake_timeout,
            clock=app.clock,
            ended=lambda how: app.count_handshake(how.value),
        )
        _show(listener, credentials)
    return listener


def use_credentials(listener: Listener, credentials: Credentials | None) -> None:
    """Let new connections use what was read anew; TLS begins and ends only with the process."""
    if listener.tls is not None and credentials is not None:
        listener.tls.credentials = credentials
        _show(listener, credentials)


def _show(listener: Listener, credentials: Credentials) -> None:
    expires_s = {"certificate": credentials.certificate_expires_s, "client_ca": credentials.client_ca_expires_s}
    for file, at_s in expires_s.items():
        if at_s is not None:
            listener.app.show_expiry(file, at_s)
            _logger.info("certificates_read", role=listener.app.role, file=file, expires=iso_utc(int(at_s * 1000)))
