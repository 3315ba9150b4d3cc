"""All that is stored about some records, as columns: the evidence that holds, and where everything stands by it."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from onefold.graph.bulk.columns import Bools, EvidenceColumns, codes_of
from onefold.graph.bulk.texts import Texts
from onefold.graph.evidence import LinkKey, LinkState, RecordState
from onefold.graph.model import IdentifierKey, RecordName, kind_of
from onefold.graph.policy import Policy
from onefold.graph.resolve import Ban, Match

_KEYS_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Places:
    """Where some nodes stand: codes of identities' ids; -1 for none."""

    identity: NDArray[np.int32]
    component: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Astray:
    """A record of which something is stored that its own evidence speaks against."""

    record: RecordName
    words: str


@dataclass(frozen=True, slots=True)
class Stored:
    """Evidence with what was made of it. Elements of columns are by the codes of ``evidence``."""

    evidence: EvidenceColumns
    """Of the records that belong to somebody."""
    bans: Sequence[Ban]
    """Those that hold."""
    ids: pa.Array
    """Ids of identities, by code."""
    records: Places
    identifiers: Places
    shared: Bools
    """For each identifier whether it is marked as shared."""
    has_events: Bools
    """For each identifier whether events hang on it."""
    marked_events: Bools
    """For each identifier whether it is marked as one on which events hang."""
    refused: dict[int, str]
    """Rows of the evidence that are marked as refused, and why."""
    astray: Sequence[Astray] = field(default=())
    expiring: Sequence[Ban] = field(default=())
    """The bans that hold until their time is over."""


class StoredBuilder:
    """Takes what is stored, all records before all identifiers."""

    def __init__(self) -> None:
        self._names = Texts()
        self._keys = Texts()
        """The identifier of each row, then of each identifier."""
        self._ids = Texts()
        """The identity and the component of each record, then of each identifier."""
        self._record = array("i")
        self._source = array("h")
        self._assurance = array("b")
        self._first_seen = array("q")
        self._sources: dict[str, int] = {}
        self._assurances: dict[str, int] = {}
        self._refused: dict[int, str] = {}
        self._shared = array("b")
        self._has_events = array("b")
        self._marked_events = array("b")
        self._matches: list[Match] = []
        self._bans: list[Ban] = []
        self._expiring: list[Ban] = []
        self._astray: list[Astray] = []

    def add_record(
        self, record: RecordState, identities: Sequence[str], links: Iterable[tuple[LinkKey, LinkState]]
    ) -> None:
        """A record as it is stored, all identities that it is a member of, and its links, the ended ones among them."""
        if len(identities) > 1:
            self._stray(record, f"should be of one identity and is of {', '.join(sorted(identities))}")
        if not record.live and identities:
            self._stray(record, f"should be nobody's and is of identity {identities[0]}")
        seen: set[LinkKey] = set()
        for key, link in links:
            if key in seen:
                self._stray(record, f"-> {key[0]} ({key[1]}) is there twice")
            elif record.holds(link) != link.stored:
                fault = "holds no longer and should be ended" if link.stored else "holds and should not be ended"
                self._stray(record, f"-> {key[0]} ({key[1]}) {fault}")
            elif link.stored:
                self._add_row(key, link)
            seen.add(key)
        if record.live:
            self._names.add((record.name,))
            self._ids.add((identities[0] if identities else None, record.component))

    def add_identifier(
        self,
        key: IdentifierKey,
        component: str | None,
        identity: str | None,
        shared: bool,
        marked_events: bool,
        has_events: bool,
    ) -> None:
        """An identifier as it is stored; whether events hang on it by its mark, and indeed."""
        self._keys.add((key,))
        self._ids.add((identity, component))
        self._shared.append(shared)
        self._has_events.append(has_events)
        self._marked_events.append(marked_events)

    def add_match(self, match: Match) -> None:
        """An operator's word that two records are one."""
        self._matches.append(match)

    def add_ban(self, ban: Ban) -> None:
        """An operator's word that two records are not one, which holds until the service says that its time is over."""
        self._bans.append(ban._replace(expires_at=None))
        if ban.expires_at is not None:
            self._expiring.append(ban)

    def build(self, policy: Policy, recount: Collection[IdentifierKey] | None = None) -> Stored:
        """All of it, laid out for this policy to decide.

        With ``recount`` it is but a part of what is stored: only for those identifiers can it be told whether they are
        shared, and what is marked as shared among the others is known to be.
        """
        _, records = self._names.numbered()
        codes, keys = self._keys.numbered()
        linked, node = np.split(codes, [len(self._record)])
        at, ids = self._ids.numbered()
        at_record, at_node = np.split(at.reshape(-1, 2), [len(records)])
        # An identifier that came after all were read stands nowhere yet.
        at_identifier = np.full((len(keys), 2), -1, np.int32)
        at_identifier[node] = at_node
        shared, has_events, marked_events = np.zeros((3, len(keys)), np.bool_)
        shared[node] = np.frombuffer(self._shared, np.bool_)
        has_events[node] = np.frombuffer(self._has_events, np.bool_)
        marked_events[node] = np.frombuffer(self._marked_events, np.bool_)
        kinds, kind, blocked = _kinds(keys, policy)
        known_shared = None
        if recount is not None:
            known_shared = shared & ~pc.is_in(keys, pa.array(recount, pa.string())).to_numpy(zero_copy_only=False)
        known = codes_of([end for match in self._matches for end in (match.a, match.b)], records)
        evidence = EvidenceColumns(
            records=records,
            identifiers=keys,
            kinds=kinds,
            kind=kind,
            blocked=blocked,
            sources=list(self._sources),
            assurances=list(self._assurances),
            record=np.frombuffer(self._record, np.int32),
            identifier=linked,
            source=np.frombuffer(self._source, np.int16),
            assurance=np.frombuffer(self._assurance, np.int8),
            first_seen=np.frombuffer(self._first_seen, np.int64),
            matches=[match for match in self._matches if match.a in known and match.b in known],
            shared=known_shared,
        )
        return Stored(
            evidence,
            self._bans,
            ids,
            Places(*at_record.T),
            Places(*at_identifier.T),
            shared,
            has_events,
            marked_events,
            self._refused,
            self._astray,
            self._expiring,
        )

    def _add_row(self, key: LinkKey, link: LinkState) -> None:
        identifier, source, assurance = key
        if link.refused is not None:
            self._refused[len(self._record)] = link.refused
        self._record.append(len(self._names))
        self._keys.add((identifier,))
        self._source.append(self._sources.setdefault(source, len(self._sources)))
        self._assurance.append(self._assurances.setdefault(assurance, len(self._assurances)))
        self._first_seen.append(link.first_seen)

    def _stray(self, record: RecordState, words: str) -> None:
        self._astray.append(Astray(record.name, f"{record.name} {words}"))


def _kinds(keys: pa.Array, policy: Policy) -> tuple[list[str], NDArray[np.int16], Bools]:
    """All kinds; which of them each identifier is of; and whether it is blocked."""
    kinds: dict[str, int] = {}
    kind = np.empty(len(keys), np.int16)
    blocked = np.empty(len(keys), np.bool_)
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        for number, key in enumerate(keys.slice(start, _KEYS_AT_ONCE).to_pylist(), start):
            kind[number] = kinds.setdefault(kind_of(key), len(kinds))
            blocked[number] = policy.is_blocked(key)
    return list(kinds), kind, blocked
