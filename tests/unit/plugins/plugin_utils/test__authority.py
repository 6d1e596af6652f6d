# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The certificate authority: what it issues, when anew, and what happens when it is lost."""

from __future__ import annotations

import datetime as dt
import ssl
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.hosting.failover.plugins.plugin_utils import _authority as ca
from hypothesis import given
from hypothesis import strategies as st

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)
WANTED = ca.WantedCertificate("www1", "lab", "etcd", ("www1", "localhost"), ("198.51.100.11", "127.0.0.1"), 730 * DAY)


@pytest.fixture(scope="module")
def authority() -> ca.Authority:
    return ca.create_authority("lab", 3650 * DAY, NOW)


def ask(folder: Path, *key_options: str) -> str:
    """Return a signing request that openssl made for a fresh key in ``folder``."""
    options = key_options or ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    key = str(folder / "key")
    subprocess.run(["openssl", "genpkey", *options, "-out", key], check=True, capture_output=True)
    command = ["openssl", "req", "-new", "-key", key, "-subj", "/CN=somebody else"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def request_pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ask(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def issued(authority: ca.Authority, request_pem: str) -> ca.FoundCertificate:
    return ca.FoundCertificate(ca.sign_request(authority, request_pem, WANTED, NOW), authority.pem, key_fits=True)


def test_openssl_accepts_it_strictly_for_server_and_client(
    tmp_path: Path, authority: ca.Authority, issued: ca.FoundCertificate
) -> None:
    (tmp_path / "ca.crt").write_text(authority.pem)
    (tmp_path / "host.crt").write_text(issued.certificate)
    for purpose in ("sslserver", "sslclient"):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-verify_ip", "198.51.100.11"]
        command += ["-CAfile", str(tmp_path / "ca.crt"), str(tmp_path / "host.crt")]
        subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    assert len(context.get_ca_certs()) == 1


def test_the_subject_comes_from_the_inventory_not_from_the_request(issued: ca.FoundCertificate) -> None:
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253"],
        input=issued.certificate,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert text.strip() == "subject=CN=www1,OU=etcd,O=lab"


def test_a_good_one_is_kept(authority: ca.Authority, issued: ca.FoundCertificate) -> None:
    assert ca.decide_certificate(WANTED, issued, authority, NOW) == ()


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (replace(WANTED, common_name="www2"), "its subject is CN=www1,OU=etcd,O=lab"),
        (replace(WANTED, purpose="agent"), "its subject is CN=www1,OU=etcd,O=lab"),
        (replace(WANTED, addresses=("127.0.0.1",)), "its names differ in 198.51.100.11"),
        (replace(WANTED, dns_names=("www1", "localhost", "new")), "its names differ in new"),
        (replace(WANTED, lifetime=DAY), None),
    ],
)
def test_what_it_says_must_be_what_the_inventory_says(
    authority: ca.Authority, issued: ca.FoundCertificate, wanted: ca.WantedCertificate, reason: str | None
) -> None:
    assert ca.decide_certificate(wanted, issued, authority, NOW) == ((reason,) if reason else ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"certificate": ""}, "there is none"),
        ({"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "it cannot be read"),
        ({"key_fits": False}, "its key is missing or another"),
        ({"ca": ""}, "the authority's own certificate is missing or another"),
    ],
)
def test_what_a_host_may_have_lost(
    authority: ca.Authority, issued: ca.FoundCertificate, changes: dict[str, object], reason: str
) -> None:
    found = replace(issued, **changes)  # type: ignore[arg-type]
    assert ca.decide_certificate(WANTED, found, authority, NOW) == (reason,)


def test_another_authority_of_the_same_name_is_seen(issued: ca.FoundCertificate) -> None:
    other = ca.create_authority("lab", 3650 * DAY, NOW)
    reasons = ca.decide_certificate(WANTED, replace(issued, ca=other.pem), other, NOW)
    assert reasons == ("another authority issued it",)
    assert ca.decide_certificate(WANTED, issued, None, NOW) == ("the estate has no certificate authority",)


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        (244 * DAY, None),
        (243 * DAY, "243 days are left, less than a third of its lifetime (243 days)"),
        (-DAY, "it expired"),
    ],
)
def test_renewal_when_under_a_third_is_left(
    authority: ca.Authority, issued: ca.FoundCertificate, left: dt.timedelta, reason: str | None
) -> None:
    reasons = ca.decide_certificate(WANTED, issued, authority, NOW + WANTED.lifetime - left)
    assert [item.startswith(reason or "") for item in reasons] == ([True] if reason else [])


def test_a_certificate_of_the_future_is_renewed(authority: ca.Authority, issued: ca.FoundCertificate) -> None:
    (reason,) = ca.decide_certificate(WANTED, issued, authority, NOW - 2 * ca.BACKDATE)
    assert reason.startswith("it is valid only from")


@given(days=st.integers(2, 5000), part=st.floats(0, 1))
def test_renewal_is_a_question_of_the_third_alone(days: int, part: float) -> None:
    begin, end = NOW, NOW + days * DAY
    now = begin + (end - begin) * part
    assert (ca.decide_renewal(begin, end, now) is None) == (end - now >= (end - begin) * ca.RENEW_FRACTION)


def test_a_certificate_never_outlives_its_authority(request_pem: str) -> None:
    short = ca.create_authority("lab", 10 * DAY, NOW)
    pem = ca.sign_request(short, request_pem, WANTED, NOW)
    assert ca.read_expiry(pem) == (NOW + 10 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_broken_requests_are_refused(tmp_path: Path, authority: ca.Authority, request_pem: str) -> None:
    with pytest.raises(ca.AuthorityError, match="broken request"):
        ca.sign_request(authority, "nonsense", WANTED, NOW)
    lines = request_pem.splitlines()
    lines[-2] = ("A" if lines[-2][0] != "A" else "B") + lines[-2][1:]
    with pytest.raises(ca.AuthorityError, match="www1 sent a"):
        ca.sign_request(authority, "\n".join(lines) + "\n", WANTED, NOW)
    with pytest.raises(ca.AuthorityError, match="key on no curve"):
        ca.sign_request(authority, ask(tmp_path, "-algorithm", "ED25519"), WANTED, NOW)


def test_the_key_of_the_authority_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / ".failover" / "ca"
    made = ca.ensure_authority(folder, "lab", 3650 * DAY, NOW)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / ca.KEY_FILE).stat().st_mode) == 0o600
    assert (folder / ".gitignore").read_text() == "*\n"
    again = ca.ensure_authority(folder, "lab", 3650 * DAY, NOW)
    assert again.pem == made.pem


def test_hosts_that_ask_at_once_get_one_authority(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda _: ca.ensure_authority(tmp_path / "ca", "lab", DAY, NOW).pem, range(8))
    assert len(set(made)) == 1


def test_no_authority_is_no_error(tmp_path: Path) -> None:
    assert ca.load_authority(tmp_path, "lab") is None


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda folder: (folder / ca.KEY_FILE).unlink(), "key of the estate's certificate authority is lost"),
        (lambda folder: (folder / ca.CERTIFICATE_FILE).unlink(), "Restore it from a backup"),
        (lambda folder: (folder / ca.KEY_FILE).write_text("x"), "cannot be read"),
        (
            lambda folder: ca.store_authority(folder, ca.create_authority("other", DAY, NOW)),
            "belongs to the estate 'other'",
        ),
    ],
)
def test_a_damaged_authority_is_an_error(tmp_path: Path, spoil: object, text: str) -> None:
    ca.ensure_authority(tmp_path, "lab", DAY, NOW)
    assert callable(spoil)
    spoil(tmp_path)
    with pytest.raises(ca.AuthorityError, match=text):
        ca.ensure_authority(tmp_path, "lab", DAY, NOW)


def test_a_foreign_key_is_an_error(tmp_path: Path) -> None:
    ca.ensure_authority(tmp_path / "a", "lab", DAY, NOW)
    ca.ensure_authority(tmp_path / "b", "lab", DAY, NOW)
    (tmp_path / "a" / ca.KEY_FILE).write_bytes((tmp_path / "b" / ca.KEY_FILE).read_bytes())
    with pytest.raises(ca.AuthorityError, match="is not the key of"):
        ca.load_authority(tmp_path / "a", "lab")


def test_a_host_with_certificates_and_a_lost_authority_is_an_error(
    authority: ca.Authority, issued: ca.FoundCertificate
) -> None:
    folder = Path("/inventory/.failover/ca")
    ca.check_foreign_authority(issued, authority, folder, "www1")
    ca.check_foreign_authority(ca.FoundCertificate("", "", key_fits=False), None, folder, "www1")
    with pytest.raises(ca.AuthorityError, match="where there is none"):
        ca.check_foreign_authority(issued, None, folder, "www1")
    with pytest.raises(ca.AuthorityError, match="where there is another one"):
        ca.check_foreign_authority(issued, ca.create_authority("lab", DAY, NOW), folder, "www1")
