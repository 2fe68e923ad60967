"""Own certificate authority for trying TLS on one machine, and a certificate of it for the names that SDKs use.

`cryptography` is installed for `make run` and the tests. The image for production lacks it, and imports nothing here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from api.runtime.secret_files import write_secret

AUTHORITY_DAYS: Final = 3_650
CERTIFICATE_DAYS: Final = 397  # the most that browsers accept
RENEWAL: Final = timedelta(days=30)  # a certificate is made again so long before its end


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM: the certificate of the authority, which clients must trust, and those of the server."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(directory: Path, names: Sequence[str], *, now: datetime | None = None) -> Certificates:
    """Return a certificate for these host names. The authority is made once, the certificate if it does not fit.

    Raises OSError if the directory cannot be written.
    """
    now = now or datetime.now(UTC)
    files = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server-key.pem")
    authority_key = directory / "ca-key.pem"
    if not authority_key.exists() or not files.authority.exists():
        _make_authority(files.authority, authority_key, now)
        files.certificate.unlink(missing_ok=True)
    if not _fits(files, names, now):
        _make_certificate(files, authority_key, names, now)
    return files


def _fits(files: Certificates, names: Sequence[str], now: datetime) -> bool:
    if not files.certificate.exists() or not files.key.exists():
        return False
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    has = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    has_names = {*names} <= {*has.get_values_for_type(x509.DNSName)}
    return has_names and certificate.not_valid_after_utc - now > RENEWAL


def _make_authority(certificate: Path, key_file: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Goalpost on this machine, {now:%Y-%m-%d}")])
    built = _begin(key, name, name, now, days=AUTHORITY_DAYS)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    built = built.add_extension(_usage(is_authority=True), critical=True)
    write_secret(key_file, _private_pem(key), replace=True)
    write_secret(certificate, _public_pem(built.sign(key, hashes.SHA256())), replace=True)
    certificate.chmod(0o644)  # clients under other accounts read it


def _make_certificate(files: Certificates, authority_key: Path, names: Sequence[str], now: datetime) -> None:
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    signer = serialization.load_pem_private_key(authority_key.read_bytes(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)  # noqa: S101 - as it was made
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Goalpost")])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    built = _begin(key, subject, authority.subject, now, days=CERTIFICATE_DAYS)
    # Python 3.13 and later refuse a certificate without these extensions.
    built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    built = built.add_extension(_usage(is_authority=False), critical=True)
    built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    built = built.add_extension(issuer, critical=False)
    write_secret(files.key, _private_pem(key), replace=True)
    write_secret(files.certificate, _public_pem(built.sign(signer, hashes.SHA256())), replace=True)


def _begin(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name, now: datetime, *, days: int
) -> x509.CertificateBuilder:
    begins_at = now - timedelta(days=1)  # a client's clock may be behind
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(begins_at).not_valid_after(begins_at + timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _public_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
