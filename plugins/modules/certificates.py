#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``certificates``: keys and certificates of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: certificates
short_description: Gives a host certificates of the estate's private authority
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Makes the authority on the controller if there is none, a key and a signing request on the host,
    signs on the controller and lands the certificate. A key never leaves its host.
  - A certificate is issued anew, with a new key, when it is missing, does not fit its key, says
    something else than the inventory, or has under a third of its lifetime left.
  - Files are C(ca.crt), C(NAME.crt) and C(NAME.key) in O(certificates[].directory).
requirements:
  - cryptography on the controller
  - openssl on the host
options:
  ca_directory:
    description: Directory of the authority on the controller.
    type: path
    required: true
  replace_ca:
    description: Whether a host that trusts another authority gets new certificates. It is refused
      otherwise.
    type: bool
    default: false
  organization:
    description: Name of the estate.
    type: str
    required: true
  common_name:
    description: Name of the host in the inventory.
    type: str
    required: true
  dns_names:
    description: Names for which the certificates are valid.
    type: list
    elements: str
    required: true
  addresses:
    description: Addresses for which the certificates are valid.
    type: list
    elements: str
    required: true
  lifetime_days:
    description: Lifetime of a certificate in days.
    type: int
    required: true
  ca_lifetime_days:
    description: Lifetime of a new authority in days.
    type: int
    required: true
  certificates:
    description: The certificates of this host.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Purpose, name of the files, and OU of the certificate.
        type: str
        required: true
      directory:
        description: Directory on the host.
        type: str
        required: true
      owner:
        description: Owner of the files.
        type: str
        required: true
      group:
        description: Group of the files and of the directory.
        type: str
        required: true
  prepare:
    description: Set by the action plugin. Names of certificates to make a key and a request for.
    type: list
    elements: str
    default: []
  install:
    description: Set by the action plugin. Certificate and authority to land, by name.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Says which certificates would be issued and why.
    support: full
  diff_mode:
    description: Shows reasons and file attributes, never a key.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Provide the certificate of etcd
  hosting.failover.certificates:
    ca_directory: "{{ inventory_dir }}/.failover/ca"
    organization: lab
    common_name: "{{ inventory_hostname }}"
    dns_names: ["{{ inventory_hostname }}", localhost]
    addresses: [198.51.100.11, 127.0.0.1]
    lifetime_days: 730
    ca_lifetime_days: 3650
    certificates:
      - {name: etcd, directory: /etc/etcd/pki, owner: etcd, group: etcd}
"""

RETURN = r"""
issued:
  description: Reasons by name for each certificate that was issued, or would be in check mode.
  returned: always
  type: dict
  sample: {etcd: [there is none]}
expires_at:
  description: End of validity by name, UTC. Nothing in check mode for what does not exist yet.
  returned: always
  type: dict
  sample: {etcd: "2028-11-22T09:00:00Z"}
changed_files:
  description: Absolute paths that were written or whose attributes changed.
  returned: always
  type: list
  elements: str
  sample: [/etc/etcd/pki/etcd.crt]
found:
  description: Used by the action plugin. What the host holds, by name, without keys.
  returned: never outside
  type: dict
requests:
  description: Used by the action plugin. Signing requests by name.
  returned: never outside
  type: dict
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _certificates as certs
from ansible_collections.hosting.failover.plugins.module_utils import _config_files as cf


def read_public_key(module: AnsibleModule, *command: str) -> str:
    """Return the public key that openssl prints, empty if it cannot read the file."""
    code, out, _err = module.run_command(["openssl", *command])
    return out.strip() if code == 0 else ""


def read_found(module: AnsibleModule, item: certs.Place) -> dict[str, Any]:
    """Return what the host holds of one certificate. The key itself is only compared."""
    texts = {
        path: Path(path).read_text(encoding="ascii", errors="replace")
        for path in (item.certificate, item.ca)
        if Path(path).is_file()
    }
    fits = False
    if item.certificate in texts and Path(item.key).is_file():
        wanted = read_public_key(module, "x509", "-in", item.certificate, "-noout", "-pubkey")
        fits = wanted != "" and wanted == read_public_key(module, "pkey", "-in", item.key, "-pubout")
    return {
        "certificate": texts.get(item.certificate, ""),
        "ca": texts.get(item.ca, ""),
        "key_fits": fits,
    }


def prepare_request(module: AnsibleModule, item: certs.Place, subject: str) -> str:
    """Make a key beside the present one and return the request for it as PEM text."""
    cf.apply_change(cf.Change(item.directory, item.wanted_directory(), cf.PathState("absent"), ()))
    staged = Path(item.staged_key)
    staged.unlink(missing_ok=True)
    for command in (certs.key_command(item), certs.request_command(item, subject)):
        code, out, err = module.run_command(command, umask=0o077)
        if code != 0:
            module.fail_json(msg=f"{' '.join(command)} exited with {code}: {err.strip()}")
    return str(out)


def read_wanted(item: certs.Place, install: dict[str, str] | None) -> cf.Wanted:
    """Return the files of one certificate: what comes now, or what is there, with its owners."""
    contents: dict[str, bytes] = {}
    if install is not None:
        contents[item.ca] = install["ca"].encode("ascii")
        contents[item.key] = Path(item.staged_key).read_bytes()
        contents[item.certificate] = install["certificate"].encode("ascii")
    else:
        for path in (item.ca, item.key, item.certificate):
            if Path(path).is_file():
                contents[path] = Path(path).read_bytes()
    return item.wanted(contents)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=certs.ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    places = {item["name"]: certs.make_place(item) for item in params["certificates"]}
    result: dict[str, Any] = {"changed": False, "found": {}, "requests": {}, "changed_files": []}
    diff: list[dict[str, str]] = []
    try:
        for name, item in places.items():
            found = read_found(module, item)
            result["found"][name] = found
            missing = not (found["certificate"] and found["key_fits"])
            wanted = read_wanted(item, params["install"].get(name))
            states = {path: cf.read_state(path) for path in cf.list_paths(wanted)}
            for change in cf.decide_changes(wanted, states):
                if not module.check_mode:
                    cf.apply_change(change)
                result["changed"] = True
                if isinstance(change.want, cf.WantedFile):
                    result["changed_files"].append(change.path)
                diff.append(cf.describe_change(change, secret=change.path == item.key))
            if name in params["install"]:
                Path(item.staged_key).unlink(missing_ok=True)
            elif not module.check_mode and (missing or name in params["prepare"]):
                subject = certs.make_subject(params["organization"], name, params["common_name"])
                result["requests"][name] = prepare_request(module, item, subject)
    except (cf.ConfigFilesError, OSError) as error:
        module.fail_json(msg=str(error))
    if module._diff:
        result["diff"] = diff
    module.exit_json(**result)


if __name__ == "__main__":
    main()
