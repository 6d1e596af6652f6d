"""docs/reference/faults.md, from the catalogue of faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from failoverctl.drill import faults
from failoverctl.drill.faults import CATALOGUE, Fault, Option

from scripts.docs.markdown import REFERENCE, bullets, code, page, table

#: How a kind of option is called on the page.
_KINDS: Mapping[str, str] = {
    "text": "text",
    "texts": "list of texts",
    "host": "host, selector, or a list of them",
    "flag": "true or false",
    "whole": "whole number",
    "wholes": "whole number, or a list of them",
    "number": "number",
}

_INTRODUCTION = (
    "What the method of a scenario may do to hosts: `{fault: NAME, host: SELECTOR, seconds: N, id: NAME, ...options}`. "
    "With `seconds` it is undone after so long; without, when a step says `heal: ID` or `heal: all`, and at the end of "
    "the method in any case."
)

_RULES = (
    "Before a fault is made, a dead-man is armed on the host: a transient timer of systemd that undoes it, should the "
    "drill die. A drill whose dead-man had to act is no pass.",
    "Nothing outlives a reboot of the host. `systemctl list-units 'failover-drill*'` and `nft list tables` show what "
    "is there now.",
    "Hosts are reached over ssh connections that are opened before anything is broken, and as root or by `sudo` "
    "without a password. The hosts of a lab are reached through its machine, over no network.",
    f"A cut is an nftables table of its own, `{faults.TABLE}_*`, before all others. Without `to` it leaves nothing but "
    "ssh. A virtual IP is cut off with the hosts that may hold it.",
    "The database is never started by a drill: only the agent knows in which role it may start.",
)


def pages() -> Mapping[Path, str]:
    """Return the page."""
    rows = (
        (f"[`{name}`](#{name})", _sentence(fault), "only in a lab" if fault.lab_only else "") for name, fault in _all()
    )
    parts = [part for name, fault in _all() for part in (f"## {name}", *_fault(fault))]
    return {
        REFERENCE / "faults.md": page(
            "Faults",
            "the catalogue in cli/failoverctl/drill/faults.py",
            _INTRODUCTION,
            bullets(_RULES),
            table(("fault", "what it does", ""), rows),
            *parts,
        )
    }


def _all() -> Iterator[tuple[str, Fault]]:
    yield from CATALOGUE.items()


def _sentence(fault: Fault) -> str:
    """Return the summary with the names of the options as code."""
    words = {"hosts": "the host", **{name: code(name) for name in fault.options}}
    if "process" in fault.options:
        words |= {"unit": "a unit or of a name", "process": ""}
    return fault.summary.format(**words) + "."


def _fault(fault: Fault) -> Iterator[str]:
    yield _sentence(fault)
    notes = [f"Undone: {fault.undone}." if fault.undone else "", "Only in a lab." if fault.lab_only else ""]
    yield " ".join(note for note in notes if note)
    if fault.options:
        yield table(("option", "type", "default", "meaning"), (_option(*item) for item in fault.options.items()))


def _option(name: str, option: Option) -> tuple[str, str, str, str]:
    default = "required" if option.required else "" if option.default is None else code(_shown(option.default))
    limits = [
        f"at least {option.low:g}" if option.low is not None else "",
        f"at most {option.high:g}" if option.high is not None else "",
        "one of " + ", ".join(code(choice) for choice in option.choices) if option.choices else "",
    ]
    return code(name), _KINDS[option.kind], default, "; ".join(filter(None, [option.meaning, *limits]))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
