"""Certificates, private keys and authorities: files read into contexts of TLS, checked before anything uses them.

What is read is whole and fits together, or it is an `InvalidConfig`: the key belongs to the certificate, nobody but its owner can read it,
nothing has expired. Names of clients are those of the subject's alternative names (RFC 6125, RFC 9525), never its common name.
"""

import os
import ssl
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

from headwater.http.config import AskingConfig, ClientCertificates, HttpLimits, TlsConfig, certificate_name
from headwater.kernel.errors import InvalidConfig

NAMES_MAX = 32
"""Names of a certificate that are looked at; one with more is nobody's."""
_CIPHERS_TLS12 = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20"
_OTHERS_BITS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a listener speaks TLS with.

    Attributes:
        context: for new connections.
        certificate_expires_s: when the first certificate of its file expires, seconds since the epoch.
        client_ca_expires_s: when the first authority of clients expires that has not yet; None without any.
    """

    context: ssl.SSLContext
    certificate_expires_s: float
    client_ca_expires_s: float | None


def load_credentials(config: TlsConfig, *, now_s: float, where: str) -> Credentials:
    """Read the files of a listener.

    Args:
        config: names the files.
        now_s: seconds since the epoch.
        where: path of the section, for errors.

    Raises:
        InvalidConfig: a file is missing, wrong, expired, or open to others; or they do not fit together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    periods = _take_certificate(context, config.certificate, config.private_key, where=where)
    if any(not period.holds(now_s) for period in periods):
        raise InvalidConfig(f"a certificate in {config.certificate} has expired, or is not valid yet", where=f"{where}.certificate")
    ca_expires_s = None
    if config.client_ca is not None:
        # Of several authorities an old one may have expired: it vouches for nobody any more, and harms nobody.
        valid = [one for one in _take_authorities(context, config.client_ca, where=f"{where}.client_ca") if one.holds(now_s)]
        if not valid:
            raise InvalidConfig(f"every certificate in {config.client_ca} has expired", where=f"{where}.client_ca")
        ca_expires_s = min(one.until_s for one in valid)
        required = config.client_certificates is ClientCertificates.REQUIRED
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        # A resumed session brings a certificate that was looked at when it began. Those of TLS 1.2 cannot be turned off: `names_of`.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return Credentials(context, min(period.until_s for period in periods), ca_expires_s)


def asking_context(config: AskingConfig, *, where: str) -> ssl.SSLContext:
    """What Headwater's own clients speak TLS with: they verify the certificate, and its name.

    Raises:
        InvalidConfig: a file is missing, wrong, or open to others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    if config.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _take_authorities(context, config.ca, where=f"{where}.ca")
    if config.certificate is not None and config.private_key is not None:
        _take_certificate(context, config.certificate, config.private_key, where=where)
    return context


def check_tls(limits: HttpLimits, client_names: Sequence[Sequence[str]], *, where: str) -> None:
    """Refuse clients that are known by certificates alone at a listener that asks nobody for one.

    Args:
        limits: of the listener.
        client_names: the names of certificates of each client.
        where: path of the section `tls`, for errors.

    Raises:
        InvalidConfig: there is such a client.
    """
    if any(client_names) and (limits.tls is None or limits.tls.client_ca is None):
        raise InvalidConfig("clients have certificate_names, but without client_ca nobody is asked for a certificate", where=where)


def names_of(certificate: Mapping[str, Any] | None, *, now_s: float) -> tuple[str, ...]:
    """The names that a verified certificate, as `getpeercert` gives it, has for its holder: DNS names in lower case, and URIs.

    None if it has expired by `now_s`, seconds since the epoch: a session of TLS 1.2 that is resumed brings what was verified when it began.
    """
    if not certificate or ssl.cert_time_to_seconds(certificate["notAfter"]) <= now_s:
        return ()
    found = certificate.get("subjectAltName", ())
    if len(found) > NAMES_MAX:
        return ()
    names = (certificate_name(value) for kind, value in found if (kind == "DNS") != (":" in value) and kind in ("DNS", "URI"))
    return tuple(dict.fromkeys(name for name in names if name is not None))


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS_TLS12)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE


def _take_certificate(context: ssl.SSLContext, certificate: str, private_key: str, *, where: str) -> "list[_Period]":
    """Put both into `context`; how long each certificate of the file is valid."""
    _check_private(Path(private_key), where=f"{where}.private_key")
    periods = _periods(certificate, where=f"{where}.certificate")
    try:
        context.load_cert_chain(certificate, private_key, password=_no_password)
    except _EncryptedKey as error:
        raise InvalidConfig(f"{private_key} is encrypted, and nobody is there to be asked", where=f"{where}.private_key") from error
    except ssl.SSLError as error:
        detail = f"{private_key} is no private key (PEM) of the certificate in {certificate}"
        raise InvalidConfig(detail, where=f"{where}.private_key") from error
    except OSError as error:
        raise InvalidConfig(f"{private_key} cannot be read: {error.strerror}", where=f"{where}.private_key") from error
    return periods


class _EncryptedKey(Exception):
    """OpenSSL wants to know a password; without an answer it would ask the terminal."""


def _no_password() -> Never:
    raise _EncryptedKey


def _take_authorities(context: ssl.SSLContext, file: str, *, where: str) -> "list[_Period]":
    """Put the certificates of `file` into `context`; how long each is valid."""
    periods = _periods(file, where=where)
    try:
        context.load_verify_locations(file)
    except (ssl.SSLError, OSError) as error:
        raise InvalidConfig(f"{file} holds no certificates (PEM)", where=where) from error
    if not context.get_ca_certs() and not any(period.self_issued for period in periods):
        raise InvalidConfig(f"{file} holds certificates, but none of an authority: they vouch for nobody", where=where)
    return periods


@dataclass(frozen=True, slots=True)
class _Period:
    """When a certificate is valid, in seconds since the epoch; and whether its issuer is itself, so that it can be trusted as it stands."""

    from_s: float
    until_s: float
    self_issued: bool

    def holds(self, now_s: float) -> bool:
        return self.from_s <= now_s < self.until_s


def _periods(file: str, *, where: str) -> list[_Period]:
    from cryptography import x509  # a process without TLS does not load it

    try:
        certificates = x509.load_pem_x509_certificates(Path(file).read_bytes())
    except OSError as error:
        raise InvalidConfig(f"{file} cannot be read: {error.strerror}", where=where) from error
    except ValueError as error:
        raise InvalidConfig(f"{file} holds no certificates (PEM)", where=where) from error
    return [
        _Period(one.not_valid_before_utc.timestamp(), one.not_valid_after_utc.timestamp(), one.issuer == one.subject)
        for one in certificates
    ]


def _check_private(path: Path, *, where: str) -> None:
    try:
        state = path.stat()
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be read: {error.strerror}", where=where) from error
    if not stat.S_ISREG(state.st_mode) or state.st_mode & _OTHERS_BITS or state.st_uid not in (os.geteuid(), 0):
        detail = f"{path} has to be a file of the user of this process, or of root, that nobody else may read: mode 0400 or 0600"
        raise InvalidConfig(detail, where=where)
