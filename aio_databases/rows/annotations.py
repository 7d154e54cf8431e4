"""Find the class that the annotation of a field names, where that is possible."""

from __future__ import annotations

import sys
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, NotRequired, Required, Union, cast, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Mapping


def class_of(annotation: Any, owner: Any, field: str) -> type | None:
    """Return the one class, beside None, that a field of ``owner`` is annotated with, or None if it is not one.

    A text is evaluated where the annotation was written; names that are not there, such as what is imported for type
    checkers only, are those of the scalar types.
    """
    for _ in range(2):  # a text may stand within a text
        text = getattr(annotation, "__forward_arg__", annotation)
        if not isinstance(text, str):
            break
        try:
            # What a class says of its own fields is code that was imported already.
            annotation = eval(text, {**_scalars(), **_names_around(owner, field)})  # noqa: S307 - see above
        except Exception:  # noqa: BLE001 - it may be any expression, and is of no use then
            return None
    return _bare(annotation)


def _bare(annotation: Any) -> type | None:
    while True:
        origin = get_origin(annotation)
        if hasattr(annotation, "__supertype__"):  # a NewType
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "InitVar":
            annotation = annotation.type
        elif hasattr(annotation, "__value__"):  # of a ``type`` statement
            annotation = annotation.__value__
        elif origin in _WRAPPERS or getattr(origin, "__name__", "") == "ReadOnly":
            annotation = get_args(annotation)[0]
        elif origin is Union or origin is UnionType:
            others = [each for each in get_args(annotation) if each is not type(None)]
            if len(others) != 1:
                return None
            annotation = others[0]
        else:
            return annotation if isinstance(annotation, type) and origin is None else None


def _names_around(owner: Any, field: str) -> Mapping[str, Any]:
    classes = cast("tuple[type, ...]", getattr(owner, "__mro__", ()))
    for each in classes:
        if field in vars(each).get("__annotations__", ()):
            module = sys.modules.get(each.__module__)
            within = {name: found for name, found in vars(each).items() if isinstance(found, type)}
            return {**within, **vars(module)} if module else within
    names: Mapping[str, Any] = getattr(owner.__init__ if classes else owner, "__globals__", {})
    return names


def _scalars() -> dict[str, Any]:
    # Imported here, because this takes long and only mappings of rows need it.
    from datetime import date, datetime, time, timedelta  # noqa: PLC0415 - see above
    from decimal import Decimal  # noqa: PLC0415 - see above
    from uuid import UUID  # noqa: PLC0415 - see above

    return {each.__name__: each for each in (date, datetime, time, timedelta, Decimal, UUID)}


_WRAPPERS = (Annotated, Final, Required, NotRequired)
