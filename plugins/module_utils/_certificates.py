# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a host keeps a certificate, and the calls of openssl that make a key and a request.

PRIVATE to the collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.hosting.failover.plugins.module_utils import _config_files as cf

ARGUMENT_SPEC: dict[str, Any] = {
    "ca_directory": {"type": "path", "required": True},
    "replace_ca": {"type": "bool", "default": False},
    "organization": {"type": "str", "required": True},
    "common_name": {"type": "str", "required": True},
    "dns_names": {"type": "list", "elements": "str", "required": True},
    "addresses": {"type": "list", "elements": "str", "required": True},
    "lifetime_days": {"type": "int", "required": True},
    "ca_lifetime_days": {"type": "int", "required": True},
    "certificates": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "directory": {"type": "str", "required": True},
            "owner": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
        },
    },
    "prepare": {"type": "list", "elements": "str", "default": []},
    "install": {"type": "dict", "default": {}},
}

DIRECTORY_MODE, CERTIFICATE_MODE, KEY_MODE = 0o750, 0o644, 0o600


@dataclass(frozen=True)
class Place:
    """The files of one certificate on a host and their owner; ids are None for unknown accounts."""

    name: str
    directory: str
    uid: int | None
    gid: int | None

    @property
    def ca(self) -> str:
        """Path of the authority's certificate."""
        return f"{self.directory}/ca.crt"

    @property
    def certificate(self) -> str:
        """Path of the certificate."""
        return f"{self.directory}/{self.name}.crt"

    @property
    def key(self) -> str:
        """Path of the key."""
        return f"{self.directory}/{self.name}.key"

    @property
    def staged_key(self) -> str:
        """Path of a key whose certificate has not come yet."""
        return f"{self.directory}/.{self.name}.key.new"

    def wanted_directory(self) -> cf.WantedDirectory:
        """Return the directory with its rights."""
        return cf.WantedDirectory(self.directory, DIRECTORY_MODE, cf.find_uid("root"), self.gid)

    def wanted(self, contents: Mapping[str, bytes]) -> cf.Wanted:
        """Return the directory and those files that have a content, with their rights."""
        files = tuple(
            cf.WantedFile(path, contents[path], mode, self.uid, self.gid)
            for path, mode in (
                (self.ca, CERTIFICATE_MODE),
                (self.key, KEY_MODE),
                (self.certificate, CERTIFICATE_MODE),
            )
            if path in contents
        )
        return cf.Wanted(directories=(self.wanted_directory(),), files=files)


def make_place(item: Mapping[str, str]) -> Place:
    """Return the place for one item of the option ``certificates``."""
    return Place(item["name"], item["directory"], cf.find_uid(item["owner"]), cf.find_gid(item["group"]))


def make_subject(organization: str, unit: str, common_name: str) -> str:
    """Return a subject as openssl req takes it; separators in a value are escaped."""
    parts = (("O", organization), ("OU", unit), ("CN", common_name))
    escaped = ((key, value.replace("\\", "\\\\").replace("/", "\\/")) for key, value in parts)
    return "".join(f"/{key}={value}" for key, value in escaped)


def key_command(place: Place) -> list[str]:
    """Return the call that makes a key on the curve P-256 in the staging file."""
    return [
        "openssl",
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        place.staged_key,
    ]


def request_command(place: Place, subject: str) -> list[str]:
    """Return the call that prints a signing request for the staged key."""
    return ["openssl", "req", "-new", "-key", place.staged_key, "-subj", subject, "-utf8"]
