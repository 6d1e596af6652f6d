# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The private certificate authority of an estate, on the controller.

PRIVATE to the collection. Keys of hosts never come here: a host sends a signing request, of which
only the public key is used. What the certificate says is decided from the inventory alone.
Certificates follow RFC 5280; the extensions are those that OpenSSL's strict mode asks for.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    CRYPTOGRAPHY_ERROR: ImportError | None = error
else:
    CRYPTOGRAPHY_ERROR = None

CERTIFICATE_FILE = "ca.crt"
KEY_FILE = "ca.key"
RENEW_FRACTION = 1 / 3
BACKDATE = dt.timedelta(hours=1)
"""How far before its making a certificate is valid, for hosts whose clock is behind."""


class AuthorityError(Exception):
    """The authority is lost, damaged or another estate's; the text says what to do."""


@dataclass(frozen=True)
class Authority:
    """The authority's certificate and key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate as PEM text."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


@dataclass(frozen=True)
class WantedCertificate:
    """What a host's certificate must say: CN, O, OU and the alternative names."""

    common_name: str
    organization: str
    purpose: str
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    lifetime: dt.timedelta


@dataclass(frozen=True)
class FoundCertificate:
    """What a host holds. ``certificate`` and ``ca`` are PEM texts, empty if there is no file."""

    certificate: str
    ca: str
    key_fits: bool


def _name(organization: str, unit: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def create_authority(organization: str, lifetime: dt.timedelta, now: dt.datetime) -> Authority:
    """Return a new authority with a fresh key on the curve P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(organization, "authority", f"{organization} estate authority")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def load_authority(directory: Path, organization: str) -> Authority | None:
    """Return the authority kept in a directory, None if there is none.

    Raises ``AuthorityError`` when only half of it is there, when key and certificate do not belong
    together, or when it was made for another estate.
    """
    certificate_file, key_file = directory / CERTIFICATE_FILE, directory / KEY_FILE
    if not certificate_file.exists() and not key_file.exists():
        return None
    if not key_file.exists():
        raise AuthorityError(
            f"{key_file} is missing, but {certificate_file} exists: the key of the estate's "
            "certificate authority is lost. Restore it from a backup of the controller. If there "
            f"is none, remove {directory} and run setup with certificates_replace_ca=true, which "
            "gives every host new certificates."
        )
    if not certificate_file.exists():
        raise AuthorityError(
            f"{certificate_file} is missing, but {key_file} exists. Restore it from a backup of the controller."
        )
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise AuthorityError(
            f"the certificate authority in {directory} cannot be read: {error}. Restore it from a "
            "backup of the controller."
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != (certificate.public_key()):
        raise AuthorityError(f"{key_file} is not the key of {certificate_file}. Restore both from the same backup.")
    owner = _first(certificate.subject, NameOID.ORGANIZATION_NAME)
    if owner != organization:
        raise AuthorityError(
            f"the certificate authority in {directory} belongs to the estate {owner!r}, this one "
            f"is {organization!r}. Give each estate its own certificates_ca_directory."
        )
    return Authority(certificate, key)


def store_authority(directory: Path, authority: Authority) -> None:
    """Write an authority: the directory is 0700 and the key 0600 from the first moment."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_pem = authority.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for name, content, mode in (
        (KEY_FILE, key_pem, 0o600),
        (CERTIFICATE_FILE, authority.pem.encode("ascii"), 0o644),
    ):
        temporary = directory / f".{name}.new"
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(directory / name)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def ensure_authority(directory: Path, organization: str, lifetime: dt.timedelta, now: dt.datetime) -> Authority:
    """Return the authority of a directory and make it if there is none.

    Safe for several processes at once: Ansible works on several hosts at the same time.
    Raises ``AuthorityError`` as ``load_authority`` does.
    """
    with _locked(directory):
        authority = load_authority(directory, organization)
        if authority is None:
            # An inventory is mostly kept in Git, and this key must never get there.
            (directory / ".gitignore").write_text("*\n", encoding="ascii")
            authority = create_authority(organization, lifetime, now)
            store_authority(directory, authority)
        return authority


def _first(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    values = name.get_attributes_for_oid(oid)
    return str(values[0].value) if values else ""


def _alternative_names(certificate: x509.Certificate) -> tuple[frozenset[str], frozenset[str]]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset(), frozenset()
    return (
        frozenset(names.get_values_for_type(x509.DNSName)),
        frozenset(str(item) for item in names.get_values_for_type(x509.IPAddress)),
    )


def _is_issued_by(certificate: x509.Certificate, authority: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def decide_renewal(begin: dt.datetime, end: dt.datetime, now: dt.datetime) -> str | None:
    """Return why a certificate with this validity must be renewed, None if it need not.

    It must when under a third of its lifetime is left, or when it is not valid yet.
    """
    if now < begin:
        return f"it is valid only from {begin:%Y-%m-%d %H:%M} UTC"
    limit = (end - begin) * RENEW_FRACTION
    left = end - now
    if left >= limit:
        return None
    if left <= dt.timedelta(0):
        return f"it expired on {end:%Y-%m-%d %H:%M} UTC"
    return f"{left.days} days are left, less than a third of its lifetime ({limit.days} days)"


def decide_certificate(
    wanted: WantedCertificate, found: FoundCertificate, authority: Authority | None, now: dt.datetime
) -> tuple[str, ...]:
    """Return the reasons to issue a certificate, none if the host's own one is good.

    ``authority`` is None where there is none yet, which is a reason.
    """
    if not found.certificate:
        return ("there is none",)
    if authority is None:
        return ("the estate has no certificate authority",)
    try:
        certificate = x509.load_pem_x509_certificate(found.certificate.encode())
    except ValueError:
        return ("it cannot be read",)
    reasons: list[str] = []
    if not found.key_fits:
        reasons.append("its key is missing or another")
    if not _is_issued_by(certificate, authority):
        reasons.append("another authority issued it")
    if found.ca.strip() != authority.pem.strip():
        reasons.append("the authority's own certificate is missing or another")
    subject = _name(wanted.organization, wanted.purpose, wanted.common_name)
    if certificate.subject != subject:
        reasons.append(f"its subject is {certificate.subject.rfc4514_string()}")
    dns_names, addresses = _alternative_names(certificate)
    missing = sorted({*wanted.dns_names, *wanted.addresses} ^ (dns_names | addresses))
    if missing:
        reasons.append(f"its names differ in {', '.join(missing)}")
    renewal = decide_renewal(certificate.not_valid_before_utc, certificate.not_valid_after_utc, now)
    if renewal is not None:
        reasons.append(renewal)
    return tuple(reasons)


def check_foreign_authority(found: FoundCertificate, authority: Authority | None, directory: Path, host: str) -> None:
    """Raise ``AuthorityError`` when a host trusts an authority that the controller does not have.

    Going on would give this host certificates that the rest of the estate does not accept.
    """
    if not found.ca or (authority is not None and found.ca.strip() == authority.pem.strip()):
        return
    here = "there is none" if authority is None else "there is another one"
    raise AuthorityError(
        f"{host} has certificates of an authority that is not in {directory}, where {here}. "
        "Restore that directory from a backup of the controller. If it is lost for good, run setup "
        "with certificates_replace_ca=true: every host gets new certificates, and etcd and "
        "replication are interrupted while they change."
    )


def sign_request(authority: Authority, request_pem: str, wanted: WantedCertificate, now: dt.datetime) -> str:
    """Return the certificate for a host's signing request as PEM text.

    Only the public key of the request is used. The certificate never outlives the authority.
    Raises ``AuthorityError`` for a request that is broken or not signed by its own key.
    """
    try:
        request = x509.load_pem_x509_csr(request_pem.encode())
    except ValueError as error:
        raise AuthorityError(f"{wanted.common_name} sent a broken request: {error}") from error
    if not request.is_signature_valid:
        raise AuthorityError(f"{wanted.common_name} sent a request that its key did not sign")
    public_key = request.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise AuthorityError(f"{wanted.common_name} sent a request with a key on no curve")
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in wanted.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(item)) for item in wanted.addresses]
    issuer = authority.certificate
    usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(wanted.organization, wanted.purpose, wanted.common_name))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATE, issuer.not_valid_before_utc))
        .not_valid_after(min(now + wanted.lifetime, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def read_expiry(certificate_pem: str) -> str:
    """Return the end of a certificate's validity in ISO 8601, UTC."""
    end = x509.load_pem_x509_certificate(certificate_pem.encode()).not_valid_after_utc
    return end.strftime("%Y-%m-%dT%H:%M:%SZ")
