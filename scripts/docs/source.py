"""Reads what is told in source code: texts of calls, branches of a match, docstrings. Nothing is run."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.docs.markdown import DocsError, code


@dataclass(frozen=True)
class Told:
    """One call of a constructor such as ``Refusal("code", "message")``: the texts of its arguments, by name."""

    arguments: dict[str, tuple[str, ...]]

    def one(self, name: str) -> str:
        """Return the text of an argument, the first if there are several, empty without any."""
        return next(iter(self.arguments.get(name, ())), "")


def calls(path: Path, name: str, parameters: tuple[str, ...]) -> list[Told]:
    """Return every call of ``name`` in a file, in order. Parts of texts that are computed are ``{in braces}``.

    :param parameters: the names of the positional arguments.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
                given = dict(zip(parameters, node.args, strict=False)) | named
                texts = {key: tuple(_texts(value, function)) for key, value in given.items()}
                found.append((node.lineno, Told(texts)))
    return [told for _, told in sorted(found, key=lambda item: item[0])]


def _texts(node: ast.expr, function: ast.FunctionDef) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(_part(part) for part in parts)
        case ast.IfExp(body=one, orelse=two):
            yield from _texts(one, function)
            yield from _texts(two, function)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield "".join([*_texts(left, function), *_texts(right, function)])
        case ast.Name(id=name):
            yield from _assigned(name, function)
        case ast.Subscript() | ast.Attribute():
            yield "{" + _name(node) + "}"


def _part(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=text):
            return str(text)
        case ast.FormattedValue(
            value=ast.IfExp(body=ast.Constant(value=str(one)), orelse=ast.Constant(value=str(two)))
        ):
            return f"{one} or {two}"
        case ast.FormattedValue(value=value):
            return "{" + _name(value) + "}"
    return "{…}"


def _name(node: ast.expr) -> str:
    match node:
        case ast.Attribute(value=ast.Name(id="new" | "old" as side), attr=name):
            return f"{side} {name}"
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.replace("_", " ")
        case ast.BoolOp(values=[first, *_]):
            return _name(first)
        case ast.Subscript(slice=ast.Constant(value=str(name))) | ast.Call(args=[ast.Constant(value=str(name)), *_]):
            return name.replace("_", " ")
        case ast.BinOp(left=ast.Name(), right=ast.Constant()):
            return ast.unparse(node)
        case ast.BinOp(left=inner) | ast.Call(args=[inner, *_]) | ast.Call(func=ast.Attribute(value=inner)):
            return _name(inner)
        case ast.Subscript(value=inner):
            return _name(inner)
    return "…"


def _assigned(name: str, function: ast.FunctionDef) -> Iterator[str]:
    """Yield the texts that a variable takes in a function: by assignment, or in a loop over literals."""
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield from _texts(value, function)
            case ast.For(target=ast.Tuple(elts=targets), iter=ast.Tuple(elts=rows)):
                for row in rows:
                    cells = row.elts if isinstance(row, ast.Tuple) else []
                    for variable, item in zip(targets, cells, strict=False):
                        if isinstance(variable, ast.Name) and variable.id == name:
                            yield from _texts(item, function)


def branches(path: Path, function: str) -> dict[str, ast.match_case]:
    """Return the branches of the ``match`` in a function that are for one text each.

    :raises DocsError: when there is no such function, or no ``match`` in it.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: dict[str, ast.match_case] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for inner in ast.walk(node):
                match inner:
                    case ast.match_case(pattern=ast.MatchValue(value=ast.Constant(value=str(text)))):
                        found[text] = inner
    if not found:
        raise DocsError(f"{path.name}: no match of texts in {function}")
    return found


def request_keys(branch: ast.match_case) -> tuple[list[str], list[str]]:
    """Return the keys that a branch takes from ``request``: those that must be there, and those that may."""
    needed: list[str] = []
    optional: list[str] = []
    several = [
        [item.value for item in node.iter.elts if isinstance(item, ast.Constant)]
        for node in ast.walk(branch)
        if isinstance(node, ast.comprehension) and isinstance(node.iter, ast.Tuple)
    ]
    for node in ast.walk(branch):
        match node:
            case ast.Subscript(value=ast.Name(id="request"), slice=ast.Constant(value=str(key))):
                needed.append(key)
            case ast.Subscript(value=ast.Name(id="request"), slice=ast.Name()):
                needed += [str(key) for keys in several for key in keys]
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="request"), attr="get"), args=[ast.Constant(value=key), *_]
            ):
                optional.append(str(key))
    return needed, optional


def assigned_texts(path: Path) -> dict[str, str]:
    """Return the texts that a module assigns to names, such as DOCUMENTATION."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def field_rows(kind: Any) -> list[tuple[str, str, str]]:
    """Return name, type and default of the fields of a dataclass, each as Markdown; ``required`` without a default."""
    rows = []
    for item in dataclasses.fields(kind):
        default = item.default
        if default is dataclasses.MISSING and item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        if default is dataclasses.MISSING:
            shown = "**required**"
        elif dataclasses.is_dataclass(default):
            shown = "see below"
        elif default is None or default in ("", (), {}):
            shown = "none" if default is None else "empty"
        else:
            shown = code(str(default).lower() if isinstance(default, bool) else default)
        rows.append((code(item.name), type_words(str(item.type)), shown))
    return rows


def type_words(annotation: str) -> str:
    """Return a type annotation in the words of JSON."""
    words = re.sub(r"\bMapping\[str, Any\]|\bdict\[.*\]", "object", annotation)
    words = re.sub(r"\btuple\[(\w+), \.\.\.\]", r"list of \1s", words)
    for python, json in (("str", "string"), ("float", "number"), ("int", "integer"), ("bool", "boolean")):
        words = re.sub(rf"\b{python}(s?)\b", rf"{json}\1", words)
    words = re.sub(r"\b(?:Engine|Kind|LastReplicaLoss|Mode|Outcome|Role)\b", "string", words.replace("None", "null"))
    return re.sub(r"\b[A-Z]\w*?(s?)\b", r"object\1", words).replace(" | null", " or null")
