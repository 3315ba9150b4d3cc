"""``onefold demo``: real orders, a made world around them, and what the service makes of it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import neo4j
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from onefold.graph.embedded import running
from onefold.graph.errors import InvalidInput, OnefoldError, Violation
from onefold.graph.model import RecordName
from onefold.service.cli import profiles, terminal, training
from onefold.service.cli.subjects import parse_subject
from onefold.service.client import StreamingImporter, error_of, messages_of
from onefold.service.demo import segment
from onefold.service.demo.child import ServiceProcess
from onefold.service.demo.score import Score, score
from onefold.service.demo.world import World, shoppers, world
from onefold.service.importing import online_retail
from onefold.service.importing.entries import Parsed, Reason
from onefold.service.importing.journal import survey
from onefold.v1 import audit_service_pb2, audit_service_pb2_grpc, record_pb2

IN_A_CLONE: Final = Path(__file__).resolve().parents[4] / "examples" / "online-retail" / "online_retail.csv.gz"

PARTITION: Final = """
CALL () {
  MATCH (c:Customer)-[:MEMBER_OF]->(i:Identity) RETURN 'customer:' + c.key AS record, i.id AS identity
  UNION ALL
  MATCH (o:Order)-[:MEMBER_OF]->(i:Identity) RETURN 'order:' + o.key AS record, i.id AS identity
}
RETURN record, identity
"""

MERGES: Final = "MATCH (d:Decision) WHERE d.kind = 'MERGED' RETURN count(d) AS merges"

BACKFILLED: Final = """
MATCH (v:Device)-[:DID]->(e:Event)
WITH v.identity AS id, v.shared AS shared, count(e) AS events
MATCH (i:Identity {id: id})
RETURN i.anonymous AS anonymous, sum(events) AS events
"""

STRONGEST_REFUSED: Final = """
MATCH (c:Customer)-[l:HAS_EMAIL|HAS_PHONE|USES_DEVICE|HAS_ID]->(v)
WHERE l.refused IS NOT NULL
RETURN 'customer:' + c.key AS record, v.key AS identifier, l.confidence AS confidence
ORDER BY l.confidence DESC, record, identifier LIMIT 1
"""


def tell(file: Path | None, serve: bool, seed: int) -> int:
    """Tells the story; the exit code. Raises what kept it from being told."""
    path = _orders_file(file)
    teller = _Teller(terminal.out())
    teller.console.print("[bold]Onefold[/]: many records, one customer.")
    with tempfile.TemporaryDirectory(prefix="onefold-demo-") as folder, ServiceProcess(Path(folder)) as service:
        try:
            with service.open_channel() as channel:
                star = _chapters(teller, service, channel, path, seed)
            _ways_on(teller.console, service, star, serve)
            if serve:
                _wait_for_interrupt()
        except KeyboardInterrupt:
            terminal.note("Stopping.")
            return 0 if serve else terminal.EXIT_INTERRUPTED
    return 0


def _chapters(teller: _Teller, service: ServiceProcess, channel: grpc.Channel, path: Path, seed: int) -> RecordName:
    """Tells it all; the record of the customer who was shown."""
    with teller.chapter("Real orders: a year of a British shop, UCI Online Retail"):
        orders = _read(path)
        teller.say(orders.words())
    with teller.chapter("A service of its own, in a throw-away folder"):
        service.wait_ready(channel)
        teller.say(f"gRPC at {service.address}, on its own graph engine")
    importer = StreamingImporter(channel)
    with teller.chapter("The orders into the graph, by the service's stream"):
        teller.say(_send(importer, orders.items, "orders"))
    with teller.chapter("A made world around them, whose truth is known"):
        made = world(shoppers(orders.items), seed)
        teller.say(_world_in_words(made))
        teller.say(_send(importer, made.items, "the made world"))
    with teller.chapter("Who is who"), _graph(service) as graph:
        _tell_partition(teller, graph, made)
        _tell_refusal(teller, graph, channel)
        teller.say(_explained(channel, *made.cast.matched))
    with teller.chapter("Who will leave"):
        model = training.trained(channel)
        teller.say(training.in_words(model))
        teller.console.print(Padding(training.measures(model), (1, 0, 0, 3), expand=False))
    with teller.chapter("One customer"):
        teller.console.print()
        profile = profiles.get(channel, parse_subject(made.cast.star))
        profiles.render(profile, profiles.curve(channel, profile), teller.console)
    with teller.chapter("One segment: who has stopped buying, and was worth much"):
        segment.tell(teller.say, channel)
    return made.cast.star


class _Teller:
    """Prints the chapters, each with the time it took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._number = 0

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        self._number += 1
        began = time.monotonic()
        self.console.print(f"\n[bold cyan]{self._number}[/]  [bold]{title}[/]")
        yield
        self.say(f"{time.monotonic() - began:.1f} s", style="dim")

    def say(self, words: str, style: str = "") -> None:
        self.console.print(Padding(escape(words), (0, 0, 0, 3), expand=False), style=style)


@dataclass(frozen=True, slots=True)
class _Orders:
    """What the order file holds."""

    items: list[record_pb2.Item]
    lines: int
    rejected: Counter[Reason]

    def words(self) -> str:
        customers = {i.customer.key.source_id for i in self.items if i.HasField("customer")}
        orders = [item.order for item in self.items if item.HasField("order")]
        refunds = sum(len(order.refunds) for order in orders)
        rejected = ", ".join(f"{count:,} {reason}" for reason, count in self.rejected.most_common())
        return (
            f"{self.lines:,} lines: {len(orders):,} orders of {len(customers):,} customers, {refunds:,} refunds; "
            f"{self.rejected.total():,} lines rejected ({rejected})"
        )


def _read(path: Path) -> _Orders:
    lines = survey(path).lines - 1
    items: list[record_pb2.Item] = []
    rejected: Counter[Reason] = Counter()
    with terminal.progress("reading") as bars:
        for entry in online_retail.read(path):
            if isinstance(entry, Parsed):
                items.append(entry.item)
                continue
            rejected[entry.reason] += 1
            if rejected.total() % 1000 == 0:
                for task in bars.task_ids:
                    bars.update(task, total=lines, completed=entry.line, said=f"line {entry.line:,}")
    return _Orders(items, lines, rejected)


def _send(importer: StreamingImporter, items: Sequence[record_pb2.Item], what: str) -> str:
    """Sends items with a bar; in words what became of them. Raises OnefoldError if any was refused."""
    began = time.monotonic()
    done = 0
    with terminal.progress(what) as bars:
        for results in importer.send(messages_of(items)):
            for result in results:
                if result.status.code:
                    raise OnefoldError(f"the service refused an item of {what}: {result.status.message}")
            done += len(results)
            rate = done / (time.monotonic() - began)
            for task in bars.task_ids:
                bars.update(task, total=len(items), completed=done, said=f"{done:,} items, {rate:,.0f}/s")
    seconds = time.monotonic() - began
    return f"{done:,} items, each resolved and durable when acknowledged: {done / seconds:,.0f}/s"


def _world_in_words(made: World) -> str:
    kinds = Counter(item.WhichOneof("item") for item in made.items)
    return (
        f"{kinds['customer']:,} records in the CRM, web shop, app and stores, {kinds['order']:,} guest orders, "
        f"{kinds['event']:,} events, for {len(set(made.truth.values())):,} persons; with family phones, a kiosk, "
        "typing errors, company mailboxes, visits before log-in"
    )


# -- what the graph says


@contextmanager
def _graph(service: ServiceProcess) -> Iterator[neo4j.Session]:
    endpoint = running(service.data_folder)
    with (
        neo4j.GraphDatabase.driver(
            endpoint.uri, auth=(endpoint.user, endpoint.password), notifications_min_severity="OFF"
        ) as driver,
        driver.session(database=endpoint.database, default_access_mode=neo4j.READ_ACCESS) as session,
    ):
        yield session


def _tell_partition(teller: _Teller, graph: neo4j.Session, made: World) -> None:
    partition: dict[RecordName, str] = {row["record"]: row["identity"] for row in graph.run(PARTITION)}
    merges = graph.run(MERGES).single(strict=True)["merges"]
    events = {row["anonymous"]: row["events"] for row in graph.run(BACKFILLED)}
    teller.say(
        f"{len(partition):,} records are {len(set(partition.values())):,} persons, by {merges:,} merges of identities"
    )
    teller.say(_score_in_words(score(made.truth, partition)))
    named, nameless = events.get(False, 0), events.get(True, 0)
    teller.say(
        f"{named:,} anonymous events turned out to be somebody's, of {made.anonymous_events:,} whose device one person "
        f"logged in on; {nameless:,} are still nobody's"
    )


def _score_in_words(found: Score) -> str:
    return (
        f"pairwise against the truth: precision {found.precision:.4f}, recall {found.recall:.4f}, F1 {found.f1:.4f} "
        f"({found.joined:,} pairs joined, {found.joined - found.right:,} wrongly, {found.true - found.right:,} missed)"
    )


def _tell_refusal(teller: _Teller, graph: neo4j.Session, channel: grpc.Channel) -> None:
    row = graph.run(STRONGEST_REFUSED).single()
    if row is None:
        teller.say("No join was refused.")
        return
    teller.say(f"The strongest evidence that was refused (confidence {row['confidence']:.3f}):")
    teller.say(_explained(channel, row["record"], row["identifier"]))


def _explained(channel: grpc.Channel, a: str, b: str) -> str:
    request = audit_service_pb2.ExplainLinkRequest(a=parse_subject(a), b=parse_subject(b))
    try:
        answer = audit_service_pb2_grpc.AuditServiceStub(channel).ExplainLink(request, timeout=30)
    except grpc.RpcError as error:
        raise error_of(error) from error
    return str(answer.summary)


# -- around it


def _orders_file(file: Path | None) -> Path:
    path = file or IN_A_CLONE
    if not path.is_file():
        rule = (
            "the order file comes with a clone of the repository (examples/online-retail/), not with the package: "
            "give its path, or that of the UCI Online Retail file as CSV"
        )
        raise InvalidInput([Violation("--file", rule)])
    return path


def _ways_on(console: Console, service: ServiceProcess, star: RecordName, serve: bool) -> None:
    console.print("\n[bold]To go on[/]")
    if not serve:
        console.print("   The service and its data are gone now. This keeps them until Ctrl-C:\n", style="dim")
        console.print("   make demo ARGS=--serve    (or: onefold demo --serve)")
        return
    console.print("   It serves until Ctrl-C. In another terminal:\n", style="dim")
    _, source, own_id = star.split(":", 2)
    request = json.dumps({"subject": {"customer": {"source": source, "source_id": own_id}}})
    exports = " ".join(f"{name}={value}" for name, value in service.environment.items())
    commands = (
        f"export {exports}",
        f"{_program('onefold')} profile {star}",
        f"{_program('onefold')} cypher "
        "'MATCH (r)-[:MEMBER_OF]->(i) RETURN i.id, count(r) AS records ORDER BY records DESC LIMIT 5'",
        f"{_program('buf')} curl --protocol grpc --http2-prior-knowledge -d '{request}' "
        f"http://{service.address}/onefold.v1.ProfileService/GetProfile",
    )
    for command in commands:
        console.print(f"   {escape(command)}", soft_wrap=True)


def _program(name: str) -> str:
    """How to call a program of this environment, whether or not the environment is active."""
    own = Path(sys.executable).with_name(name)
    if not own.exists() or shutil.which(name) == str(own):
        return name
    return os.path.relpath(own) if own.is_relative_to(Path.cwd()) else str(own)


def _wait_for_interrupt() -> None:
    while True:
        time.sleep(3600)
