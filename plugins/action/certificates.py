# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of ``certificates``: keeps the authority, decides and signs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.action import ActionBase
from ansible_collections.hosting.failover.plugins.module_utils import _certificates as certs
from ansible_collections.hosting.failover.plugins.plugin_utils import _authority as ca


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible carries no types
    """Looks at the host, and where something has to be issued asks it for a request and signs."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task for one host and return its result."""
        super().run(tmp, task_vars)
        if ca.CRYPTOGRAPHY_ERROR is not None:
            raise AnsibleActionFail(missing_required_lib("cryptography")) from ca.CRYPTOGRAPHY_ERROR
        self._variables = task_vars or {}
        _validation, self._args = self.validate_argument_spec(argument_spec=certs.ARGUMENT_SPEC)
        try:
            return self._provide(dt.datetime.now(dt.UTC).replace(microsecond=0))
        except ca.AuthorityError as error:
            raise AnsibleActionFail(str(error)) from error

    def _provide(self, now: dt.datetime) -> dict[str, Any]:
        args = self._args
        directory = Path(args["ca_directory"])
        authority = ca.load_authority(directory, args["organization"])
        result = self._call()
        if result.get("failed"):
            return result
        found = {name: ca.FoundCertificate(**item) for name, item in result["found"].items()}
        if not args["replace_ca"]:
            for item in found.values():
                ca.check_foreign_authority(item, authority, directory, args["common_name"])
        issued = {
            name: reasons
            for name, item in found.items()
            if (reasons := ca.decide_certificate(self._want(name), item, authority, now))
        }
        certificates = {name: item.certificate for name, item in found.items()}
        if issued and not self._task.check_mode:
            lifetime = dt.timedelta(days=args["ca_lifetime_days"])
            authority = ca.ensure_authority(directory, args["organization"], lifetime, now)
            requests = dict(result["requests"])
            missing = [name for name in issued if name not in requests]
            if missing:
                answer = self._call(prepare=missing)
                if answer.get("failed"):
                    return answer
                requests.update(answer["requests"])
            install = {
                name: {
                    "ca": authority.pem,
                    "certificate": ca.sign_request(authority, requests[name], self._want(name), now),
                }
                for name in issued
            }
            answer = self._call(install=install)
            if answer.get("failed"):
                return answer
            result = _merge(result, answer)
            certificates.update({name: item["certificate"] for name, item in install.items()})
        del result["found"], result["requests"]
        result["issued"] = {name: list(reasons) for name, reasons in issued.items()}
        result["changed"] = bool(result["changed"] or issued)
        result["expires_at"] = _read_expiries(certificates)
        return self._explain(result)

    def _call(self, **more: Any) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="hosting.failover.certificates",
            module_args={**self._args, **more},
            task_vars=self._variables,
        )
        return result

    def _want(self, name: str) -> ca.WantedCertificate:
        args = self._args
        return ca.WantedCertificate(
            common_name=args["common_name"],
            organization=args["organization"],
            purpose=name,
            dns_names=tuple(dict.fromkeys(args["dns_names"])),
            addresses=tuple(dict.fromkeys(args["addresses"])),
            lifetime=dt.timedelta(days=args["lifetime_days"]),
        )

    def _explain(self, result: dict[str, Any]) -> dict[str, Any]:
        """Add the reasons to the diff, and in check mode the files that would come."""
        if self._task.check_mode:
            for item in self._args["certificates"]:
                if item["name"] in result["issued"]:
                    place = certs.make_place(item)
                    paths = [place.ca, place.key, place.certificate]
                    known = result["changed_files"]
                    result["changed_files"] = [*known, *(p for p in paths if p not in known)]
        if "diff" in result:
            result["diff"] += [
                {"before_header": name, "after_header": name, "before": "", "after": text}
                for name, reasons in result["issued"].items()
                if (text := f"certificate {name} is issued: {'; '.join(reasons)}\n")
            ]
        return result


def _merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the result of two calls of the module for one task."""
    merged = {**first, "changed": True}
    paths = [*first["changed_files"], *second["changed_files"]]
    merged["changed_files"] = list(dict.fromkeys(paths))
    if "diff" in first:
        merged["diff"] = [*first["diff"], *second.get("diff", [])]
    return merged


def _read_expiries(certificates: dict[str, str]) -> dict[str, str]:
    """Return the end of validity of those certificates that can be read."""
    expiries: dict[str, str] = {}
    for name, pem in certificates.items():
        try:
            expiries[name] = ca.read_expiry(pem)
        except ValueError:
            continue
    return expiries
