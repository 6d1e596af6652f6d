"""Makes an example of a dataclass from its type hints, so that what it becomes in a file can be shown."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from scripts.docs.markdown import DocsError

T = TypeVar("T")


def example(kind: type[T]) -> T:
    """Return a value of a dataclass in which nothing is empty or absent.

    :raises DocsError: when a field has a type for which no example is known.
    """
    hints = typing.get_type_hints(kind)
    if not dataclasses.is_dataclass(kind):
        raise DocsError(f"no example of {kind} is known")
    return kind(**{item.name: _value(hints[item.name]) for item in dataclasses.fields(kind) if item.init})


def _value(hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _value(next(item for item in arguments if item is not type(None)))
    if origin is Literal:
        return arguments[0]
    if origin is tuple:
        return (_value(arguments[0]),) if arguments[-1] is ... else tuple(map(_value, arguments))
    if origin in (frozenset, list, Sequence):
        return (origin if origin is not Sequence else tuple)([_value(arguments[0])])
    if origin in (dict, Mapping):
        return {"name": _value(arguments[1])}
    return _plain(hint)


def _plain(hint: Any) -> Any:
    plain = {str: "text", int: 1, float: 1.5, bool: True, Any: "text", dict: {}, object: "text"}
    if hint in plain:
        return plain[hint]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return next(iter(hint))
    return example(hint)
