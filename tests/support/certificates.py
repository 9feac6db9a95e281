"""Certificates as an authority issues them, made for a test."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

BEGIN = timedelta(days=-1)
END = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate for 127.0.0.1 and localhost, and its key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def chain(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self, password: bytes | None = None) -> bytes:
        """Return the key in PEM, encrypted if there is a password."""
        encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def write(self, cert_file: Path, key_file: Path) -> None:
        """Write both files, the key first."""
        key_file.write_bytes(self.key_pem())
        cert_file.write_bytes(self.chain)


class Authority:
    """Issues certificates that its own clients trust, and those of the authority above it."""

    def __init__(self, above: "Authority | None" = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("an authority for tests" if above is None else "one between")
        above = above or self
        self._certificate = (
            _unsigned(self._name, self._key, serial=1, begin=BEGIN, end=END)
            .issuer_name(above._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(above._key.public_key()),
                critical=False,
            )
            .sign(above._key, SHA256())
        )

    @property
    def pem(self) -> bytes:
        """The authority's own certificate in PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        serial: int,
        *,
        begin: timedelta = BEGIN,
        end: timedelta = END,
        key: PrivateKey | None = None,
    ) -> Issued:
        """Return a certificate that is valid from ``begin`` to ``end``, both counted from now."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
        certificate = (
            _unsigned(_name("localhost"), key, serial=serial, begin=begin, end=end)
            .issuer_name(self._name)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, SHA256())
        )
        return Issued(certificate, key)

    def client(self) -> ssl.SSLContext:
        """Return what a client needs that trusts this authority and no other."""
        return ssl.create_default_context(cadata=self.pem.decode())


def _unsigned(
    name: x509.Name, key: PrivateKey, *, serial: int, begin: timedelta, end: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now + begin)
        .not_valid_after(now + end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
