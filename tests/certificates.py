"""Authorities and certificates made for a test, written as the files that a configuration names."""

import datetime
import pathlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headwater.http.config import AskingConfig, TlsConfig

_DAY = datetime.timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and of its private key."""

    certificate: pathlib.Path
    private_key: pathlib.Path

    def into(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Let a client show it."""
        context.load_cert_chain(self.certificate, self.private_key)
        return context


class Authority:
    """An authority in a folder of its own; `file` is its certificate."""

    def __init__(self, folder: pathlib.Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(self._name).issuer_name(self._name).public_key(self._key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - _DAY).not_valid_after(now + 90 * _DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        file: str,
        *names: str,
        use: x509.ObjectIdentifier = CLIENT,
        days: int = 30,
        others: Sequence[x509.GeneralName] = (),
        raw_names: bytes | None = None,
        common_name: str = "common.example",
    ) -> Pair:
        """A certificate for DNS names, and URIs where they hold a colon, or with `raw_names`. Files of that name are replaced.

        Args:
            days: how long it is valid; below 0 it has expired.
            others: further names of other kinds.
            raw_names: the alternative names in DER, instead of all others.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - 60 * _DAY).not_valid_after(now + days * _DAY)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        found = [x509.UniformResourceIdentifier(name) if ":" in name else x509.DNSName(name) for name in names] + list(others)
        if raw_names is not None:
            raw = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, raw_names)
            builder = builder.add_extension(raw, critical=False)
        elif found:
            builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
        pair = Pair(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        pair.certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        pair.private_key.unlink(missing_ok=True)
        pair.private_key.touch(mode=0o600)
        encoding, shape = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        pair.private_key.write_bytes(key.private_bytes(encoding, shape, serialization.NoEncryption()))
        pair.private_key.chmod(0o400)
        return pair

    def trusted(self) -> ssl.SSLContext:
        """What a client needs to trust its servers."""
        context = ssl.create_default_context(cafile=str(self.file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def tls_config(server: Pair, *, ca: Authority | None = None, client_ca: Authority | None = None, **more: object) -> TlsConfig:
    """The section `tls` of a server that has these files."""
    return TlsConfig(
        certificate=str(server.certificate),
        private_key=str(server.private_key),
        client_ca=str(client_ca.file) if client_ca is not None else None,
        asking=AskingConfig(ca=str(ca.file) if ca is not None else None, server_name="localhost"),
        **more,  # type: ignore[arg-type]
    )
