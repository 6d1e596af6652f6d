# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a host keeps a certificate, with openssl itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ansible_collections.hosting.failover.plugins.module_utils import _certificates as certs
from cryptography import x509


def test_paths_and_rights() -> None:
    place = certs.Place("etcd", "/etc/etcd/pki", 100, 101)
    wanted = place.wanted({place.key: b"k", place.certificate: b"c"})
    assert [(item.path, item.mode) for item in wanted.files] == [
        ("/etc/etcd/pki/etcd.key", 0o600),
        ("/etc/etcd/pki/etcd.crt", 0o644),
    ]
    assert [(item.path, item.mode, item.uid, item.gid) for item in wanted.directories] == [
        ("/etc/etcd/pki", 0o750, 0, 101)
    ]


def test_openssl_makes_a_request_with_the_subject(tmp_path: Path) -> None:
    place = certs.Place("agent", str(tmp_path), 0, 0)
    subject = certs.make_subject("lab", "agent", "web/1\\x")
    subprocess.run(certs.key_command(place), check=True, capture_output=True)
    done = subprocess.run(certs.request_command(place, subject), check=True, capture_output=True)
    request = x509.load_pem_x509_csr(done.stdout)
    assert request.is_signature_valid
    assert [item.value for item in request.subject] == ["lab", "agent", "web/1\\x"]
