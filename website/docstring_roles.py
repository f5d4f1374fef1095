"""Extension of griffe: Sphinx's roles in docstrings, such as ``:class:`onelayer.OneLayer```, as links of the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj):`(~?)([\w.]+)`")


class DocstringRoles(griffe.Extension):
    """Replaces roles when a package was read as a whole, because names are resolved in it."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Replace the roles of all docstrings of a package."""
        replace_roles(pkg)


def replace_roles(obj: griffe.Object) -> None:
    """Replace the roles in the docstrings of an object and of its members."""
    if obj.docstring is not None:
        obj.docstring.value = ROLE.sub(lambda role: link(obj, role), obj.docstring.value)
    for member in obj.members.values():
        if isinstance(member, griffe.Object):
            replace_roles(member)


def link(obj: griffe.Object, role: re.Match[str]) -> str:
    """Write a link to what a role names; plain text where the site has no such place."""
    is_short, name = role.groups()
    try:
        path = obj.resolve(name)
    except griffe.NameResolutionError:
        path = name
    shown = name.rpartition(".")[2] if is_short else name
    return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'
