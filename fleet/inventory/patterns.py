"""Ansible's host patterns: `core:!fra1`, `branches:&eu`, `*.eu`, `~web\\d+`, `core[0]`. Pure.

As Ansible reads them (intro_patterns): terms are split at commas, or else at colons; unions come first,
then every `&`, then every `!`; an index counts in the order of the groups. Stricter in one thing: a term
that names nothing is an error everywhere. Called by the topology's rules and by `--limit`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence

from fleet.errors import FleetError
from fleet.inventory.model import Inventory
from fleet.inventory.ranges import check_name
from fleet.inventory.suggest import suggestion

_TERM = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")
_SUBSCRIPT = re.compile(r"(.+)\[(?:(-?[0-9]+)|([0-9]+)[:-]([0-9]*))\]")
_END = 2**31


def select(inventory: Inventory, pattern: str | None) -> list[str]:
    """The hosts that a pattern matches, in the inventory's order; all of them for None.

    Raises FleetError where it, or one of its terms, matches nothing. An empty one does not mean everybody:
    it is what becomes of --limit "$HOSTS" where a script forgot to set HOSTS.
    """
    if pattern is None:
        return list(inventory.hosts)
    if not split(pattern):
        raise FleetError("the pattern is empty: leave --limit out for all hosts")
    try:
        return match(pattern, inventory.groups, list(inventory.hosts))
    except ValueError as error:
        raise FleetError(f"{inventory.file}: {error}") from None


def match(pattern: str, groups: Mapping[str, Sequence[str]], hosts: Sequence[str]) -> list[str]:
    """The hosts, in the order of `hosts`, that a pattern matches; `groups` are the hosts of every group.

    Raises ValueError, a sentence.
    """
    terms = split(pattern)
    unions = [term for term in terms if term[0] not in "&!"] or ["all"]
    chosen: set[str] = set()
    for term in unions:
        chosen.update(_match_term(term, groups, hosts))
    for term in terms:
        if term[0] == "&":
            chosen.intersection_update(_match_term(term[1:], groups, hosts))
    for term in terms:
        if term[0] == "!":
            chosen.difference_update(_match_term(term[1:], groups, hosts))
    if not chosen:
        raise ValueError(f"the pattern {pattern!r} matches no host")
    return [host for host in hosts if host in chosen]


def split(pattern: str) -> list[str]:
    """The terms of a pattern."""
    if "," in pattern:
        terms = pattern.split(",")
    elif _is_host(pattern):
        terms = [pattern]
    else:
        terms = _TERM.findall(pattern)
    return [term.strip() for term in terms if term.strip()]


def _is_host(pattern: str) -> bool:
    try:
        check_name(pattern)
    except ValueError:
        return False
    return True


def _match_term(term: str, groups: Mapping[str, Sequence[str]], hosts: Sequence[str]) -> Sequence[str]:
    if term in hosts:
        return [term]
    name, first, last = _subscript(term)
    found_groups = _matching(name, list(groups))
    found = [host for group in found_groups for host in groups[group]]
    if not found_groups or name[:1] == "~" or any(special in name for special in ".?*["):
        found += _matching(name, hosts)
    if not found and not found_groups:
        cure = suggestion(name, [*groups, *hosts])
        raise ValueError(f"no host or group matches {name!r}{cure}")
    if first is None or not found:
        return found
    if last is None:
        if not -len(found) <= first < len(found):
            raise ValueError(f"{term!r}: {name!r} has only {len(found)} hosts")
        return [found[first]]
    return found[first : last + 1]


def _subscript(term: str) -> tuple[str, int | None, int | None]:
    """A term without its index, and the first and last place that it asks for (last None for one place)."""
    found = None if term.startswith("~") else _SUBSCRIPT.fullmatch(term)
    if found is None:
        return term, None, None
    name, index, first, last = found.groups()
    if index is not None:
        return name, int(index), None
    return name, int(first), (int(last) or None) if last else _END


def _matching(name: str, names: Sequence[str]) -> list[str]:
    try:
        expression = re.compile(name[1:] if name.startswith("~") else fnmatch.translate(name))
    except re.error as error:
        raise ValueError(f"{name!r} is not a regular expression: {error}") from None
    return [candidate for candidate in names if expression.match(candidate)]
