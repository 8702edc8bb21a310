"""A certificate authority of this home's own, for HTTPS on this machine and for nothing else.

It is made on demand in `$GAIA_HOME/ca`. Its certificate is constrained (RFC 5280, 4.2.1.10) to `localhost`, names below
it, 127.0.0.1 and ::1, and to servers: whoever steals the key of an authority that people trust could otherwise speak
for every site to them. Each environment gets a certificate of its own in `.gaia/tls` of its checkout.

Importing `cryptography` takes a while; what does not need it should not import this.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import Unavailable
from common.files import file_lock
from environments.drivers.writing import put_if_changed

AUTHORITY_LASTS = timedelta(days=3650)
CERTIFICATE_LASTS = timedelta(days=365)
RENEWED_BEFORE = timedelta(days=30)
_CLOCKS_DIFFER = timedelta(hours=1)  # a container's clock may be behind
_LOCK_PATIENCE_S = 30.0
_ADDRESSES = (ip_address("127.0.0.1"), ip_address("::1"))
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Facts:
    """What people are told of a certificate.

    Args:
        names: host names and addresses that it speaks for; those of an authority are what it may issue for.
        fingerprint: SHA-256, as browsers show it.
    """

    path: Path
    subject: str
    names: tuple[str, ...]
    since: datetime
    until: datetime
    serial: str
    fingerprint: str


@dataclass(frozen=True)
class Authority:
    """The authority, ready to sign."""

    path: Path
    certificate: x509.Certificate
    key: _Key


def authority_file(directory: Path) -> Path:
    """The authority's certificate, which may be shown to anybody."""
    return directory / "ca.pem"


def names_of(environment: str) -> tuple[str, ...]:
    """The host names an environment's certificate is for, besides 127.0.0.1 and ::1.

    Args:
        environment: its directory, such as `shop-dev1`, which gives it names of its own below `localhost`.
    """
    own = environment.lower()
    return ("localhost", *((f"{own}.localhost", f"*.{own}.localhost") if _LABEL.fullmatch(own) else ()))


def ensure_authority(directory: Path, *, now: datetime | None = None) -> tuple[Authority, bool]:
    """The authority in this directory, made when there is none, or none that can be used any more.

    Args:
        now: the time that counts; default the clock's.

    Returns: the authority, and whether it was made just now and has to be trusted anew.
    Raises: Unavailable when the directory cannot be used.
    """
    moment = now or datetime.now(UTC)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        with file_lock(directory / "lock", timeout=_LOCK_PATIENCE_S, what="the local authority"):
            known = _read_authority(directory, moment)
            return (known, False) if known else (_make_authority(directory, moment), True)
    except OSError as error:
        raise Unavailable(
            f"the local authority in {directory} cannot be used: {error.strerror}",
            fix="Give yourself the right to write there, or make room.",
            path=str(directory),
        ) from error


def ensure_certificate(directory: Path, place: Path, environment: str, *, now: datetime | None = None) -> list[str]:
    """Bring an environment's certificate into order: made when it is missing, renewed when it ends in 30 days.

    The key is kept over renewals, so that only one file changes and a server that reads both at any moment finds a
    pair.

    Args:
        directory: the authority's.
        place: where `cert.pem`, `key.pem` (0600) and the authority's `ca.pem` go.
        environment: the environment's directory name.
        now: the time that counts; default the clock's.

    Returns: names of the files that were written; none when all was in order. Raises: Unavailable, OSError.
    """
    moment = now or datetime.now(UTC)
    authority, _ = ensure_authority(directory, now=moment)
    with file_lock(directory / "certificates.lock", timeout=_LOCK_PATIENCE_S, what="the certificates"):
        return _ensure_certificate(authority, place, environment, moment)


def _ensure_certificate(authority: Authority, place: Path, environment: str, moment: datetime) -> list[str]:
    names = names_of(environment)
    key = _read_key(place / "key.pem")
    certificate = _read_certificate(place / "cert.pem")
    if key is None or certificate is None or not _still_good(certificate, key, authority, names, moment):
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = _issue(authority, key, environment, names, moment)
    wanted = {
        "key.pem": (_key_bytes(key), 0o600),
        "cert.pem": (certificate.public_bytes(serialization.Encoding.PEM), 0o644),
        "ca.pem": (authority.certificate.public_bytes(serialization.Encoding.PEM), 0o644),
    }
    place.mkdir(mode=0o700, exist_ok=True)
    return [name for name, (data, mode) in wanted.items() if put_if_changed(place / name, data, mode)]


def facts_of(file: Path) -> Facts | None:
    """What a certificate says; None when there is none that can be read."""
    certificate = _read_certificate(file)
    if certificate is None:
        return None
    shown = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    return Facts(
        path=file,
        subject=certificate.subject.rfc4514_string().removeprefix("CN="),
        names=_names_in(certificate),
        since=certificate.not_valid_before_utc,
        until=certificate.not_valid_after_utc,
        serial=f"{certificate.serial_number:x}",
        fingerprint=shown,
    )


def _names_in(certificate: x509.Certificate) -> tuple[str, ...]:
    with suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(str(name.value) for name in names)
    with suppress(x509.ExtensionNotFound):
        limits = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        return tuple(str(name.value) for name in limits.permitted_subtrees or ())
    return ()


# -- reading what is there; what cannot be read is made anew


def _read_authority(directory: Path, now: datetime) -> Authority | None:
    path = authority_file(directory)
    certificate, key = _read_certificate(path), _read_key(directory / "key.pem")
    if certificate is None or key is None or certificate.public_key() != key.public_key():
        return None
    if certificate.not_valid_after_utc - now < RENEWED_BEFORE:
        return None
    (directory / "key.pem").chmod(0o600)
    return Authority(path, certificate, key)


def _read_certificate(file: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return None


def _read_key(file: Path) -> _Key | None:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, _Key) and isinstance(key.curve, ec.SECP256R1) else None


def _still_good(
    certificate: x509.Certificate, key: _Key, authority: Authority, names: Sequence[str], now: datetime
) -> bool:
    if certificate.not_valid_before_utc > now or certificate.not_valid_after_utc - now < RENEWED_BEFORE:
        return False
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    wanted = {*names, *map(str, _ADDRESSES)}
    return certificate.public_key() == key.public_key() and set(_names_in(certificate)) == wanted


# -- making


def _make_authority(directory: Path, now: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    # the end tells two authorities of one machine apart in a list of trusted ones
    name = _named(f"GAIA local authority {now:%Y-%m-%d} {secrets.token_hex(2)}")
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    limits = x509.NameConstraints(
        permitted_subtrees=[
            x509.DNSName("localhost"),
            *(x509.IPAddress(ip_network(address)) for address in _ADDRESSES),
        ],
        excluded_subtrees=None,
    )
    certificate = (
        _builder(name, name, key, now, now + AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(limits, critical=True)
        .add_extension(own, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        .sign(key, hashes.SHA256())
    )
    # the key first: a certificate without its key is made anew, and nobody can have begun to trust this one
    put_if_changed(directory / "key.pem", _key_bytes(key), 0o600)
    path = authority_file(directory)
    put_if_changed(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return Authority(path, certificate, key)


def _issue(authority: Authority, key: _Key, environment: str, names: Sequence[str], now: datetime) -> x509.Certificate:
    until = min(now + CERTIFICATE_LASTS, authority.certificate.not_valid_after_utc)
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    speaks_for = [*map(x509.DNSName, names), *map(x509.IPAddress, _ADDRESSES)]
    return (
        _builder(_named(environment[:64]), authority.certificate.subject, key, now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(speaks_for), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: _Key, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - _CLOCKS_DIFFER,
        not_valid_after=until,
    )


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_bytes(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
