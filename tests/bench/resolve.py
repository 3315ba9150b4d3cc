"""Resolution alone, without an engine: bulk against scipy and networkx, one huge contested component, one small one."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from onefold.graph import policy
from onefold.graph.bulk import EvidenceColumns, resolve_columns
from onefold.graph.resolve import Ban, Edges, Link, Match, resolve
from onefold.graph.rulebook import in_ppm
from tests.bench import evidence
from tests.bench.ingest import Ratio

_ROUNDS = 5


def measure(rows: int = 10_000_000) -> list[Ratio]:
    """Bulk at ``rows`` rows, a contested component of a tenth as many links, and one component of ten.

    Times are CPU seconds, the least of some rounds taken in turn; those beside networkx are by the clock, since bulk
    has the processor's cores at work and networkx can't. The reference is what nobody can leave out: building the
    sparse matrix of records and identifiers from the two arrays of the *eligible* links that resolution found, and
    ``connected_components`` on it; what else resolution decides is in ours only. networkx gets the same two arrays,
    builds its graph and gives the same answer, a number a node; once. Bytes a row are what the process grew by at its
    peak, the evidence and all answers included.
    """
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder), *evidence.population(rows))
        # A process of its own, so that its peak is that of resolving.
        child = [sys.executable, "-m", "tests.bench.resolve", folder]
        figures = json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout)
    ours, scipy, bytes_ = (figures[name] for name in ("ours", "scipy", "bytes"))
    elapsed, slow = figures["elapsed"], figures["networkx"]
    what, component = f"bulk of {figures['rows']:,} rows", f"one contested component of {rows // 10:,} links"
    contested, online, (hinted, ordinary) = _contested(rows // 10), _online(), _hinted()
    return [
        Ratio(
            f"{what}, all rules ÷ scipy's components (s of CPU)", ours, scipy, ours / scipy, "≤ 4", ours <= 4 * scipy
        ),
        Ratio(f"networkx's components ÷ {what} (s)", elapsed, slow, slow / elapsed, "≥ 20", slow >= 20 * elapsed),
        Ratio(f"{what}: memory at its peak (bytes a row)", bytes_, 150, bytes_ / 150, "≤ 1", bytes_ <= 150),
        Ratio(f"{component} (s of CPU)", contested, 6, contested / 6, "≤ 1", contested <= 6),
        Ratio("one component of 10 links (µs of CPU)", online, 30, online / 30, "≤ 1", online <= 30),
        Ratio(
            "2,000 guest orders with two hints in common ÷ 2,000 customers' ordinary links (ms of CPU)",
            hinted,
            ordinary,
            hinted / ordinary,
            "≤ 3",
            hinted <= 3 * ordinary,
        ),
    ]


def _in_a_process_of_its_own(folder: Path) -> dict[str, float]:
    """What the process that only resolves has to tell."""
    rules = evidence.rules()
    before = _memory("VmRSS")
    columns, bans = _load(folder)
    ours, elapsed, scipy = [], [], []
    partition, _ = resolve_columns(columns, rules, bans, evidence.AS_OF)
    peak = _memory("VmHWM") - before
    joining = partition.confidence >= in_ppm(rules.link_threshold)
    record, identifier = partition.record[joining], partition.identifier[joining] + len(columns.records)
    nodes = len(columns.records) + len(columns.identifiers)
    del partition, joining
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        ours.append(_seconds(lambda: resolve_columns(columns, rules, bans, evidence.AS_OF)))
        elapsed.append(time.perf_counter() - began)
        scipy.append(_seconds(lambda: _by_scipy(record, identifier, nodes)))
    began = time.perf_counter()
    _by_networkx(record, identifier, nodes)
    slow = time.perf_counter() - began
    return {
        "rows": len(columns.record),
        "ours": min(ours),
        "elapsed": min(elapsed),
        "scipy": min(scipy),
        "networkx": slow,
        "bytes": peak / len(columns.record),
    }


def _by_scipy(record: NDArray[np.int32], identifier: NDArray[np.int32], nodes: int) -> NDArray[np.int32]:
    links = coo_array((np.ones(len(record), np.int8), (record, identifier)), shape=(nodes, nodes))
    label: NDArray[np.int32] = connected_components(links, directed=False)[1]
    return label


def _by_networkx(record: NDArray[np.int32], identifier: NDArray[np.int32], nodes: int) -> NDArray[np.int32]:
    graph = networkx.Graph()
    graph.add_edges_from(zip(record.tolist(), identifier.tolist(), strict=True))
    label = np.full(nodes, -1, np.int32)
    for number, component in enumerate(networkx.connected_components(graph)):
        label[list(component)] = number
    return label


def _contested(links: int) -> float:
    """One component in which limits bite everywhere: people in a ring, each with the next one's email too.

    Everybody has a member number of their own and one may have only one, so no two may become one.
    """
    people = links // 6
    person = np.arange(people)
    record = np.concatenate((np.tile(2 * person, 3), np.tile(2 * person + 1, 3)))
    email, member, phone = person, people + person, 2 * people + person
    identifier = np.concatenate((email, member, np.roll(email, -1), email, member, phone))
    keys = [f"{kind}:{n}" for kind in ("email", "member", "phone") for n in range(people)]
    columns = EvidenceColumns(
        records=pa.array([f"customer:{source}:{n}" for n in range(people) for source in ("shop", "web")]),
        identifiers=pa.array(keys),
        kinds=("email", "member", "phone"),
        kind=np.repeat(np.arange(3, dtype=np.int8), people),
        blocked=np.zeros(len(keys), np.bool_),
        sources=("shop", "web"),
        assurances=("verified",),
        record=record.astype(np.int32),
        identifier=identifier.astype(np.int32),
        source=(record % 2).astype(np.int8),
        assurance=np.zeros(len(record), np.int8),
        first_seen=np.random.default_rng(1).integers(0, 10**9, len(record)),
    )
    rules = policy.load()
    _, refusals = resolve_columns(columns, rules)
    if len(refusals) < people:
        raise RuntimeError(f"{people} people should have been kept apart, and {len(refusals)} joins were refused")
    return min(_seconds(lambda: resolve_columns(columns, rules)) for _ in range(_ROUNDS))


def _online() -> float:
    """Microseconds for one component of four records and ten links."""
    rules = policy.load()
    links = []
    for n, source in enumerate(("crm", "shop", "web", "app")):
        name = f"customer:{source}:{n}"
        links += [
            Link(name, "email:ann@example.org", source, "verified", n),
            Link(name, "phone:+441", source, "declared", n),
        ]
        if n < 2:
            links.append(Link(name, f"cookie:{n}", source, "observed", n))
    edges = Edges(links, records={link.record for link in links})
    times = 500
    return min(_seconds(lambda: [resolve(edges, rules, (), 10) for _ in range(times)]) for _ in range(40)) / times * 1e6


def _hinted() -> tuple[float, float]:
    """Milliseconds for guest orders that have nothing but one cookie and one IP, and for as many customers of whom each
    two have an email and a phone."""
    rules = policy.load()
    orders = [Link(f"order:shop:{n}", key, "shop", "observed", n) for n in range(2_000) for key in ("cookie:1", "ip:1")]
    customers = [
        Link(f"customer:{('shop', 'web')[n % 2]}:{n}", key, ("shop", "web")[n % 2], "verified", n)
        for n in range(2_000)
        for key in (f"email:{n // 2}@example.org", f"phone:+44{n // 2}")
    ]
    hinted, ordinary = (
        min(_seconds(lambda links=links: resolve(Edges(links), rules)) for _ in range(_ROUNDS)) * 1e3
        for links in (orders, customers)
    )
    return hinted, ordinary


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _memory(what: str) -> int:
    """The bytes of memory that this process has (``VmRSS``), or had at its peak (``VmHWM``)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel doesn't say how much memory a process has")


_ARRAYS = ("kind", "blocked", "record", "identifier", "source", "assurance", "first_seen")


def _save(folder: Path, columns: EvidenceColumns, bans: list[Ban]) -> None:
    np.savez(folder / "arrays.npz", **{name: getattr(columns, name) for name in _ARRAYS})
    for name in ("records", "identifiers"):
        texts = pa.record_batch([getattr(columns, name)], ["text"])
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_file(file, texts.schema) as writer:
            writer.write_batch(texts)
    words = {"matches": columns.matches, "bans": bans}
    words |= {name: getattr(columns, name) for name in ("kinds", "sources", "assurances")}
    (folder / "words.json").write_text(json.dumps(words))


def _load(folder: Path) -> tuple[EvidenceColumns, list[Ban]]:
    words: dict[str, Any] = json.loads((folder / "words.json").read_text())
    bans = [Ban(*ban) for ban in words.pop("bans")]
    words["matches"] = [Match(*match) for match in words["matches"]]
    for name in ("records", "identifiers"):
        with pa.OSFile(str(folder / name), "rb") as file:
            words[name] = pa.ipc.open_file(file).get_batch(0).column("text")
    with np.load(folder / "arrays.npz") as arrays:
        return EvidenceColumns(**words, **{name: arrays[name] for name in _ARRAYS}), bans


if __name__ == "__main__":
    print(json.dumps(_in_a_process_of_its_own(Path(sys.argv[1]))))
