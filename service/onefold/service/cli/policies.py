"""``onefold policy``: check a file, print its schema, tell stories under it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.markup import escape
from rich.table import Table

from onefold.graph import appraisal, document, policy
from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import Assurance
from onefold.graph.policy import Policy
from onefold.service import ending as endings
from onefold.service import scenario as scenarios
from onefold.service.cli import stories, terminal
from onefold.service.ending import Check, Ending
from onefold.service.scenario import Scenario

_SHIPPED: Final = "the policy that comes with Onefold"


def check(path: Path | None, as_json: bool) -> None:
    """Says what a policy file comes to, kind by kind, and what in it is legal but hardly meant.

    Raises InvalidPolicy, with the line and field of every rule that it breaks.
    """
    text = policy.read(path)
    known = policy.parse(text)
    doubts = [(document.locate(text, doubt.path), doubt.words) for doubt in appraisal.doubts(known)]
    name = str(path) if path else _SHIPPED
    if as_json:
        print(json.dumps(_checked(name, known, doubts)))
        return
    terminal.out().print(
        f"[green]ok[/]  {escape(name)}: version {known.version}, {len(known.kinds)} kinds of identifier", soft_wrap=True
    )
    terminal.out().print(_kinds(known))
    terminal.out().print(
        "[dim]joins up to n: by itself, while no more than n customers of one source have the value[/]"
    )
    for where, words in doubts:
        terminal.out().print(f"[yellow]look again[/]  {escape(where)}: {escape(words)}", soft_wrap=True)


def schema() -> None:
    """Prints the JSON schema of a policy file."""
    print(json.dumps(policy.schema(), indent=2, ensure_ascii=False))


def explain(paths: Sequence[Path], policy_path: Path | None, as_json: bool) -> int:
    """Tells each story as it ends under a policy; the exit code says whether all end as they were expected to.

    Raises InvalidInput for a file that is no scenario, before anything is told.
    """
    known = policy.load(policy_path)
    told = [_tell(path, known) for path in paths]
    if as_json:
        print(json.dumps([{"file": str(each.path), **stories.as_data(*each.parts)} for each in told]))
    else:
        _print(told)
    return 0 if all(each.as_expected for each in told) else terminal.EXIT_FAILED


@dataclass(frozen=True, slots=True)
class _Told:
    """A story with its end."""

    path: Path
    scenario: Scenario
    ending: Ending
    checks: list[Check]

    @property
    def parts(self) -> tuple[Scenario, Ending, list[Check]]:
        return self.scenario, self.ending, self.checks

    @property
    def as_expected(self) -> bool:
        return all(check.holds for check in self.checks)


def _tell(path: Path, known: Policy) -> _Told:
    text = document.read(path)
    try:
        story = scenarios.parse(text)
        ending = endings.tell(story, known)
    except InvalidInput as error:
        raise InvalidInput([Violation(f"{path}: {v.field}", v.rule) for v in error.violations]) from error
    return _Told(path, story, ending, endings.checks(story, ending))


def _print(told: Sequence[_Told]) -> None:
    out = terminal.out()
    for each in told:
        for line in stories.lines(*each.parts):
            out.print(line, soft_wrap=True)
        out.print()
    expected = [each for each in told if each.checks]
    if len(told) > 1 and expected:
        amiss = [each for each in expected if not each.as_expected]
        words = f"{len(expected)} stories were told with their end; {len(amiss) or 'none'} ended otherwise"
        out.print(f"[{'red' if amiss else 'green'}]{words}[/]", soft_wrap=True)
        for each in amiss:
            out.print(f"  {escape(str(each.path))}", soft_wrap=True)


def _kinds(known: Policy) -> Table:
    table = terminal.table(("kind", *Assurance, "a person has", "shared above"))
    for kind, rule in known.kinds.items():
        reaches = (_reach(appraisal.reach(known, kind, assurance), rule.shared_above) for assurance in Assurance)
        limit = "any number" if rule.limit is None else f"at most {rule.limit}"
        table.add_row(kind, *reaches, limit, str(rule.shared_above))
    return table


def _reach(customers: int, shared_above: int) -> str:
    if customers == 0:
        return "a hint"
    return "joins" if customers == shared_above else f"joins up to {customers}"


def _checked(name: str, known: Policy, doubts: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {
        "policy": name,
        "version": known.version,
        "kinds": {
            kind: {
                **{f"{assurance}_joins_up_to": appraisal.reach(known, kind, assurance) for assurance in Assurance},
                "limit": rule.limit,
                "shared_above": rule.shared_above,
            }
            for kind, rule in known.kinds.items()
        },
        "doubts": [{"field": where, "words": words} for where, words in doubts],
    }
