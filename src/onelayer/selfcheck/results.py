"""What a check found, as a record and as a table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from rich.table import Table

from onelayer.records import Environment, Part, Record


class FamilyResult(Part):
    """The cases of one family."""

    name: str
    cases: int = Field(ge=1)
    differing: int = Field(ge=0)
    first_difference: str | None
    """What differed in the first of those that did, in words."""


class SelfcheckRecord(Record):
    """All cases, and the versions that they were compared with."""

    kind: Literal["selfcheck"] = "selfcheck"
    seed: int
    families: tuple[FamilyResult, ...]
    environment: Environment

    @property
    def cases(self) -> int:
        """Of all families."""
        return sum(family.cases for family in self.families)

    @property
    def differing(self) -> int:
        """Likewise, of which a bit differs."""
        return sum(family.differing for family in self.families)


def table(record: SelfcheckRecord) -> Table:
    """One row per family, for the terminal."""
    versions = record.environment.versions
    title = ", ".join(f"{name} {versions[name]}" for name in ("torch", "torchvision", "pillow") if name in versions)
    made = Table(title=f"Bit for bit, with {title}", title_justify="left")
    made.add_column("what")
    made.add_column("cases", justify="right")
    made.add_column("differing", justify="right")
    for family in record.families:
        colour = "red" if family.differing else "green"
        made.add_row(family.name, f"{family.cases:,}", f"[{colour}]{family.differing:,}[/{colour}]")
    made.add_section()
    made.add_row("all", f"{record.cases:,}", f"{record.differing:,}")
    return made
