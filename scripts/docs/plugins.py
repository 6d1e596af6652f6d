"""docs/reference/modules.md and filters.md, from the plugins' own documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from scripts.docs.markdown import REFERENCE, TOP, ansible, block, bullets, code, kind_of, page, table
from scripts.docs.roles import option_rows
from scripts.docs.source import assigned_texts


def plugin_paths(kind: str) -> list[Path]:
    """Return the files of all plugins of a kind, such as ``modules``."""
    return sorted(path for path in (TOP / "plugins" / kind).glob("*.py") if path.stem != "__init__")


def pages() -> Mapping[Path, str]:
    """Return the two pages."""
    return {
        REFERENCE / "modules.md": page(
            "Modules",
            "plugins/modules",
            "All are in the collection `hosting.failover` and are written with that name before theirs, as in "
            "`hosting.failover.estate_info`. Modules that end in `_info` change nothing.",
            *_plugins("modules"),
        ),
        REFERENCE / "filters.md": page(
            "Filters",
            "plugins/filter",
            "For the roles' own templates. They compute and change nothing.",
            *_plugins("filter"),
        ),
    }


def _plugins(kind: str) -> Iterator[str]:
    documents = [(path.stem, assigned_texts(path)) for path in plugin_paths(kind)]
    described = [(name, yaml.safe_load(texts["DOCUMENTATION"]), texts) for name, texts in documents]
    rows = ((f"[{name}](#{name})", ansible(found["short_description"])) for name, found, _ in described)
    yield table(("name", "what it does"), rows)
    for name, found, texts in described:
        yield f"## {name}"
        yield from _plugin(found, texts)


def _plugin(found: Mapping[str, Any], texts: Mapping[str, str]) -> Iterator[str]:
    yield f"{ansible(found['short_description'])}."
    yield bullets(map(ansible, found["description"]))
    for title in ("requirements", "notes"):
        if found.get(title):
            yield f"{title.capitalize()}: {', '.join(map(ansible, found[title]))}."
    options = {name.removeprefix("_"): option for name, option in found.get("options", {}).items()}
    yield table(("option", "type", "default", "meaning"), option_rows(options))
    attributes = found.get("attributes", {})
    rows = (
        (name.replace("_", " "), str(item["support"]), ansible(item["description"]))
        for name, item in attributes.items()
    )
    if attributes:
        yield table(("supports", "how far", "meaning"), rows)
    yield block(texts["EXAMPLES"], "yaml")
    returned = yaml.safe_load(texts["RETURN"]) or {}
    yield table(("returns", "type", "when", "meaning", "for example"), _returned(returned))


def _returned(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, str, str]]:
    for name, value in values.items():
        path = f"{prefix}{name}".removeprefix("_")
        sample = code(json.dumps(value["sample"], ensure_ascii=False)) if "sample" in value else ""
        yield (
            code(path),
            kind_of(name, value),
            str(value.get("returned", "")),
            ansible(value.get("description")),
            sample,
        )
        if value.get("contains"):
            yield from _returned(value["contains"], f"{path}[]." if value.get("type") == "list" else f"{path}.")
