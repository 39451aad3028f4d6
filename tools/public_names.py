"""Print every public name of Paradox with its signature, so that a change of the contract is a change that someone reads.

`make names` writes them to tests/public_names.txt; tests/test_house.py compares.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import paradox


class _Spelled(str):
    """An annotation that prints as it was written, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def public_names() -> str:
    """Return one line a name, in the order of the alphabet, each ending with a newline."""
    lines = [f"{line}\n" for name in sorted(paradox.__all__) for line in _describe(name, getattr(paradox, name))]
    return "".join(lines)


def _describe(name: str, thing: Any) -> Iterator[str]:
    if not inspect.isclass(thing):
        yield f"{name}{_signature(thing)}" if inspect.isroutine(thing) else name
        return
    ours = [owner for owner in thing.__mro__ if owner.__module__.partition(".")[0] == "paradox"]
    members = {member: inspect.getattr_static(thing, member) for owner in reversed(ours) for member in _members(owner)}
    values = {member: value for member, value in members.items() if isinstance(value, str | bool | int)}
    parents = ", ".join(owner.__name__ for owner in ours[1:2])
    yield f"class {name}" + (f"({parents})" if parents else "") + "".join(f" {key}={values[key]!r}" for key in sorted(values))
    for member in sorted(members.keys() - values.keys()):
        yield f"  {name}.{member}{_form(members[member])}"


def _members(owner: type) -> list[str]:
    """Return the public names a class gives to its own members, those that only its instances have included."""
    named = [*vars(owner), *vars(owner).get("__annotations__", {})]
    return [name for name in dict.fromkeys(named) if not name.startswith("_") and hasattr(owner, name)]


def _form(member: Any) -> str:
    function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    return str(_signature(function)) if inspect.isfunction(function) else ""


def _signature(function: Callable[..., Any]) -> str:
    """Return a signature with its annotations as they are written."""
    signature = inspect.signature(function)
    parameters = [each.replace(annotation=_spelled(each.annotation)) for each in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=_spelled(signature.return_annotation)))


def _spelled(annotation: Any) -> Any:
    return _Spelled(annotation) if isinstance(annotation, str) else annotation


if __name__ == "__main__":
    print(public_names(), end="")
