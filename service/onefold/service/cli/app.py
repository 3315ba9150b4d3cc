"""The words of the command line: commands, options, help. What they do is imported when it is asked for, so that help
comes at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onefold.graph.errors import InvalidInput, OnefoldError, Violation
from onefold.service.cli import terminal

if TYPE_CHECKING:
    import grpc

    from onefold.service.settings import Settings

app = typer.Typer(
    name="onefold",
    help="Many records, one customer: identity resolution on a property graph.",
    epilog=terminal.EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
imports = typer.Typer(
    help="Import a file through the service's stream. The same file twice changes nothing.", no_args_is_help=True
)
policies = typer.Typer(help="The rules by which records are found to be one person.", no_args_is_help=True)
app.add_typer(imports, name="import")
app.add_typer(policies, name="policy")
feature_commands = typer.Typer(
    help="The figures that models and exports know about a person, each as of an instant.", no_args_is_help=True
)
app.add_typer(feature_commands, name="features")
rules = typer.Typer(help="Conditions on what is known of a person, for segments and labels.", no_args_is_help=True)
app.add_typer(rules, name="rule")
catalogues = typer.Typer(
    help="Labels in their layers, ladders of tiers, segments: a file of rules.", no_args_is_help=True
)
app.add_typer(catalogues, name="catalogue")
segment_commands = typer.Typer(help="Segments: who is in them, why, and who comes and goes.", no_args_is_help=True)
app.add_typer(segment_commands, name="segment")
models = typer.Typer(help="The trained models, and which of them is in use.", no_args_is_help=True)
app.add_typer(models, name="model")

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Where the service is. Default: ONEFOLD_LISTEN, else 127.0.0.1:50051."),
]
DataFolder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Data of the embedded engine, models. Env: ONEFOLD_DATA_FOLDER.")
]
Rejects = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Where rejects go. Default: beside the file, as FILE.rejects.csv.")
]
Bulk = Annotated[
    bool,
    typer.Option("--bulk", help="For a first load of many: send together what hangs together. Takes a spool file."),
]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew, also if an earlier run was interrupted.")]
SubjectWords = Annotated[
    str,
    typer.Argument(
        metavar="SUBJECT",
        help="customer:SOURCE:ID, order:SOURCE:ID, KIND:VALUE, or an identity's id.",
        show_default=False,
    ),
]
Region = Annotated[str, typer.Option(metavar="CC", help="Country of a phone in national form, as GB.")]
Horizon = Annotated[
    int | None,
    typer.Option(min=1, max=365, help="Within so many days. Default: the model's longest.", show_default=False),
]
CatalogueFile = Annotated[
    Path | None,
    typer.Option("--catalogue", metavar="FILE", help="The catalogue. Default: the one that comes with Onefold."),
]
File = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, show_default=False)]


def run() -> None:
    """Runs a command; an error that Onefold raises on purpose is a line of text and an exit code, never a traceback."""
    try:
        app(prog_name="onefold")
    except OnefoldError as error:
        sys.exit(terminal.fail(error))
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(terminal.fail(InvalidInput([Violation(str(error.filename), error.strerror or "can't be used")])))
    except KeyboardInterrupt:
        sys.exit(terminal.EXIT_INTERRUPTED)


def _version(asked: bool) -> None:
    if asked:
        print(f"onefold {metadata.version('onefold')}")
        raise typer.Exit


@app.callback()
def onefold(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Many records, one customer: identity resolution on a property graph."""


@app.command(
    epilog="Every setting has an environment variable; see the README. Example: onefold serve --listen 0.0.0.0:50051"
)
def serve(
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one. Env: ONEFOLD_LISTEN."),
    ] = None,
    data_folder: DataFolder = None,
    graph_uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="A Neo4j to use in place of the embedded engine. Env: ONEFOLD_GRAPH_URI."),
    ] = None,
    policy_file: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="The resolution policy. Env: ONEFOLD_POLICY_FILE.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port of /metrics and /readyz; 0 for none. Env: ONEFOLD_METRICS_PORT.")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error. Env: ONEFOLD_LOG_LEVEL.")
    ] = None,
    json: Json = False,
) -> None:
    """Serve gRPC, with its own graph engine unless a Neo4j is named. Logs go to standard error."""
    settings = _settings(
        listen=listen,
        data_folder=data_folder,
        graph_uri=graph_uri,
        policy_file=policy_file,
        metrics_port=metrics_port,
        log_level=log_level,
    )
    from onefold.service.cli import serving

    serving.serve(settings, json)


@app.command()
def demo(
    file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="The Online Retail file. Default: the one in a clone's examples/."
        ),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Keep the service running at the end, until Ctrl-C.")] = False,
    seed: Annotated[int, typer.Option(help="Of the made world.")] = 1,
) -> None:
    """Tell the story: real orders, a made world of people around them, who is who, and who will leave."""
    from onefold.service.demo import show

    raise typer.Exit(show.tell(file, serve, seed))


@imports.command(
    "online-retail", epilog="Example: onefold import online-retail examples/online-retail/online_retail.csv.gz"
)
def import_online_retail(
    file: File,
    bulk: Bulk = False,
    rejects: Rejects = None,
    restart: Restart = False,
    address: Address = None,
    json: Json = False,
) -> None:
    """Import the UCI Online Retail file: customers, orders, refunds."""
    from onefold.service.cli import importing

    source = importing.online_retail_source(file)
    with _service(address) as (channel, _):
        raise typer.Exit(importing.run(channel, source, rejects, restart, json, bulk))


@imports.command("csv", epilog="Example: onefold import csv customers.csv --mapping customers.yaml")
def import_csv(
    file: File,
    mapping: Annotated[
        Path,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="What the columns are (YAML).", show_default=False
        ),
    ],
    bulk: Bulk = False,
    rejects: Rejects = None,
    restart: Restart = False,
    address: Address = None,
    json: Json = False,
) -> None:
    """Import any CSV file, plain or gzipped, by a mapping of its columns."""
    from onefold.service.cli import importing

    source = importing.csv_source(file, mapping)
    with _service(address) as (channel, _):
        raise typer.Exit(importing.run(channel, source, rejects, restart, json, bulk))


@app.command(epilog="Example: onefold train --horizon-days 90")
def train(
    horizon_days: Annotated[
        int | None,
        typer.Option(min=1, max=365, help="Churn is no purchase in so many days. Default: 90.", show_default=False),
    ] = None,
    cutoff: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Learn from what was known on this day.", show_default=False),
    ] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Train a model on the graph; it is used from then on, unless it is surely worse than the one in use."""
    from onefold.service.cli import training

    with _service(address) as (channel, _):
        training.train(channel, horizon_days or 0, cutoff and cutoff.replace(tzinfo=UTC), json)


@app.command(epilog="Example: onefold score --horizon-days 30")
def score(horizon_days: Horizon = None, data_folder: DataFolder = None, json: Json = False) -> None:
    """Write what the model in use says of everybody to the graph, with the features. The service may run meanwhile."""
    from onefold.service.cli import scoring

    scoring.score(_settings(data_folder=data_folder), horizon_days, json)


@models.command("list")
def list_models(address: Address = None, json: Json = False) -> None:
    """List the models, newest first."""
    from onefold.service.cli import models

    with _service(address) as (channel, _):
        models.list_all(channel, json)


@models.command("show", epilog="Example: onefold model show --drift --page card")
def show_model(
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="As churn-0001. Default: the one in use.")] = "",
    drift: Annotated[bool, typer.Option("--drift", help="Also say how far customers have moved since.")] = False,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write it there as a page with plots.", show_default=False),
    ] = None,
    data_folder: DataFolder = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Show a model's card: what it was trained on, how it did beside its baselines, and what is known to go wrong."""
    from onefold.service.cli import models

    with _service(address) as (channel, _):
        model = models.show(channel, version, json, drift)
    if page is not None:
        models.write_page(_settings(data_folder=data_folder), model, page)


@models.command("promote")
def promote_model(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As churn-0001.", show_default=False)],
    address: Address = None,
) -> None:
    """Put a model in use."""
    from onefold.service.cli import models

    with _service(address) as (channel, _):
        models.promote(channel, version)


@models.command("rollback")
def roll_back_model(address: Address = None) -> None:
    """Put the model in use that was trained before the one that is."""
    from onefold.service.cli import models

    with _service(address) as (channel, _):
        models.roll_back(channel)


@app.command(epilog="Example: onefold predict email:ann@example.org --horizon-days 30")
def predict(
    subject: SubjectWords,
    region: Region = "",
    horizon_days: Horizon = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Say what is to be expected of one person: churn and why, value, the next order, the next products."""
    from onefold.service.cli import predicting
    from onefold.service.cli.subjects import in_words_of_the_command, parse_subject

    wanted = parse_subject(subject, region)
    with _service(address) as (channel, _):
        try:
            predicting.predict(channel, wanted, horizon_days or 0, json)
        except InvalidInput as error:
            raise in_words_of_the_command(error, wanted) from error


@app.command(epilog="Examples: onefold profile customer:crm:17; onefold profile 'phone:020 7946 0018' --region GB")
def profile(
    subject: SubjectWords,
    region: Region = "",
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"],
            help="As it would have been shown at this instant, UTC.",
            show_default=False,
        ),
    ] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Show everything about one person, whichever way they are named."""
    from onefold.service.cli import profiles
    from onefold.service.cli.subjects import in_words_of_the_command, parse_subject

    wanted = parse_subject(subject, region)
    with _service(address) as (channel, _):
        try:
            profiles.show(channel, wanted, json, as_of and as_of.replace(tzinfo=UTC))
        except InvalidInput as error:
            raise in_words_of_the_command(error, wanted) from error


@app.command(epilog="Example: onefold watch --after 0")
def watch(
    after: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Go on after this place in the log; 0: from the first. Default: from now on."
        ),
    ] = None,
    address: Address = None,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a change.")] = False,
) -> None:
    """Print every change of identities as it is committed, until Ctrl-C."""
    from onefold.service.cli import watching

    with _service(address) as (channel, _):
        watching.watch(channel, after, json)


@app.command(epilog="Example: onefold cypher 'MATCH (r)-[:MEMBER_OF]->(i) RETURN i.id, count(r) AS n ORDER BY n DESC'")
def cypher(
    statement: Annotated[
        str,
        typer.Argument(metavar="STATEMENT", help="Cypher, or - to read it from standard input.", show_default=False),
    ],
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A parameter; the value is JSON or text. May be repeated."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a row.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=0, help="Rows to print; 0 for all. Default: 100 in a table, else all.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Keep what the statement changes. Without it all is rolled back.")
    ] = False,
    data_folder: DataFolder = None,
) -> None:
    """Ask the graph of the running service in Cypher. Nothing is changed unless --write is given."""
    from onefold.service.cli import query

    form = query.Form.JSON if json else query.Form.CSV if csv else query.Form.TABLE
    most = (query.SHOWN if form is query.Form.TABLE else 0) if limit is None else limit
    text = sys.stdin.read() if statement == "-" else statement
    parameters = dict(map(query.parse_parameter, param or []))
    query.query(_settings(data_folder=data_folder), text, parameters, form, most, write)


Limit = Annotated[int, typer.Option(min=1, help="Differences to name.")]


@app.command(epilog="Exit codes: 0 nothing differs, 1 something does, 2 it could not be looked at, 130 interrupted.")
def verify(limit: Limit = 20, data_folder: DataFolder = None, json: Json = False) -> None:
    """Hold the whole graph against its evidence and its log, and name what differs. Services may run meanwhile."""
    from onefold.service.cli import maintenance

    raise typer.Exit(maintenance.verify(_settings(data_folder=data_folder), limit, json))


@app.command(epilog="Example: onefold rebuild --policy new.yaml --dry-run")
def rebuild(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    policy_file: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="The rules to decide by. Env: ONEFOLD_POLICY_FILE.")
    ] = None,
    limit: Limit = 20,
    data_folder: DataFolder = None,
    json: Json = False,
) -> None:
    """Decide the whole graph again from its evidence, as after a change of policy. Services may run meanwhile."""
    from onefold.service.cli import maintenance

    settings = _settings(data_folder=data_folder, policy_file=policy_file)
    raise typer.Exit(maintenance.rebuild_graph(settings, dry_run, limit, json))


@app.command(epilog="Example: onefold quality --rejects customers.csv.rejects.csv")
def quality(
    rejects: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Also count what an import did not take. May be repeated."),
    ] = None,
    textfile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write it as metrics, for the node exporter's text file collector."),
    ] = None,
    data_folder: DataFolder = None,
    json: Json = False,
) -> None:
    """Say how good the data are: what is known, how fresh, where records differ, what has changed, what was refused."""
    from onefold.service.cli import quality

    quality.quality(_settings(data_folder=data_folder), rejects or [], json, textfile)


@app.command()
def doctor(data_folder: DataFolder = None, json: Json = False) -> None:
    """Find what stands in the way of serving, and say what to do about it."""
    settings = _settings(data_folder=data_folder)
    from onefold.service.cli import serving

    raise typer.Exit(serving.diagnose(settings, json))


@policies.command("check", epilog="Example: onefold policy check policy.yaml")
def policy_check(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Check a policy file: each broken rule with its line and field, or how far each kind reaches."""
    from onefold.service.cli import policies as commands

    commands.check(file, json)


@policies.command("explain", epilog="Example: onefold policy explain --policy policy.yaml tests/scenarios/*.yaml")
def policy_explain(
    scenarios: Annotated[list[Path], typer.Argument(metavar="SCENARIO", show_default=False)],
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The rules to tell by. Default: those that come with Onefold."),
    ] = None,
    json: Json = False,
) -> None:
    """Tell stories under a policy: who is who at the end, and why. Exit code 1 if one ends otherwise than expected."""
    from onefold.service.cli import policies as commands

    raise typer.Exit(commands.explain(scenarios, policy, json))


@policies.command("schema", epilog="Example: onefold policy schema > policy.schema.json")
def policy_schema() -> None:
    """Print the JSON schema of a policy file, for editors."""
    from onefold.service.cli import policies as commands

    commands.schema()


@rules.command("check", epilog="Example: onefold rule check 'orders_90d >= 2 && !in_segment(\"staff\")'")
def rule_check(
    text: Annotated[str | None, typer.Argument(metavar="[RULE]", show_default=False)] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Where the rule is, in place of RULE.")
    ] = None,
    in_force: Annotated[
        bool,
        typer.Option("--in-force", help="Ask the service: by the catalogue in force, and the segments that there are."),
    ] = False,
    address: Address = None,
    json: Json = False,
) -> None:
    """Check a rule: each place that is wrong, or what it reads, and the same rule in DuckDB's SQL and in Cypher."""
    from onefold.service import app as service
    from onefold.service.cli import rules as commands

    if (text is None) == (file is None):
        raise typer.BadParameter("give a RULE or a --file")
    rule = text if file is None else commands.text_in(file)
    if not (in_force or address):
        raise typer.Exit(commands.check_text(rule or "", service.now(), json))
    with _service(address) as (channel, _):
        raise typer.Exit(commands.check_in_force(channel, rule or "", json))


@rules.command("explain", epilog="Example: onefold rule explain 'orders >= 2 && spend > 100' '{\"orders\": 3}'")
def rule_explain(
    text: Annotated[str, typer.Argument(metavar="RULE", show_default=False)],
    row: Annotated[
        str,
        typer.Argument(metavar="ROW", help="What is known of a person, as JSON; - reads it.", show_default=False),
    ],
    catalogue: CatalogueFile = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="When it is asked, UTC. Default: now.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say what a rule comes to for one person: each clause with its truth and the values that it read."""
    from onefold.graph.model import to_instant
    from onefold.service import app as service
    from onefold.service.cli import rules as commands

    now = service.now() if at is None else to_instant(at.replace(tzinfo=UTC))
    raise typer.Exit(commands.explain_for(text, sys.stdin.read() if row == "-" else row, catalogue, now, json))


@catalogues.command("check", epilog="Example: onefold catalogue check labels.yaml")
def catalogue_check(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Check a catalogue: all that is wrong with its line and column, or what is in each layer. Its tests are asked."""
    from onefold.service.cli import catalogue as commands

    raise typer.Exit(commands.check(file, json))


@catalogues.command("diff", epilog="Example: onefold catalogue diff labels.yaml new.yaml")
def catalogue_diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", show_default=False)],
    new: Annotated[Path, typer.Argument(metavar="NEW", show_default=False)],
    json: Json = False,
) -> None:
    """Say what a new catalogue changes, in words, and which labels and segments that touches."""
    from onefold.service.cli import catalogue as commands

    commands.compare(old, new, json)


@catalogues.command("show", epilog="Example: onefold catalogue show rfm")
def catalogue_show(
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="A label, ladder, segment or custom feature.")] = "",
    file: CatalogueFile = None,
    json: Json = False,
) -> None:
    """Show what a catalogue defines, or one definition in full."""
    from onefold.service.cli import catalogue as commands

    commands.show(file, key, json)


@catalogues.command("schema", epilog="Example: onefold catalogue schema > catalogue.schema.json")
def catalogue_schema() -> None:
    """Print the JSON schema of a catalogue's file, for editors."""
    from onefold.service.cli import catalogue as commands

    commands.schema()


@catalogues.command("apply", epilog="Example: onefold catalogue apply labels.yaml --dry-run")
def catalogue_apply(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    address: Address = None,
) -> None:
    """Put a catalogue in force, with the lists of its static segments. The next frame is computed by it."""
    from onefold.service.cli import segments as commands

    with _service(address) as (channel, _):
        commands.apply(channel, file, dry_run)


@catalogues.command("labels")
def catalogue_labels(address: Address = None, json: Json = False) -> None:
    """List the labels with how many have each, what reads it, and what it is doubted for."""
    from onefold.service.cli import segments as commands

    with _service(address) as (channel, _):
        commands.labels(channel, json)


SegmentKey = Annotated[str, typer.Argument(metavar="SEGMENT", help="Its key.", show_default=False)]
MaybeSegmentKey = Annotated[str, typer.Argument(metavar="[SEGMENT]", help="Its key.", show_default=False)]
RuleText = Annotated[str, typer.Option("--rule", metavar="RULE", help="A rule, in place of a segment.")]
Owner = Annotated[str, typer.Option(metavar="WHO", help="Who answers for it.")]
Description = Annotated[str, typer.Option(metavar="WORDS", help="What it is for.")]


@segment_commands.command("list")
def segment_list(address: Address = None, json: Json = False) -> None:
    """List the segments, with how many are in each."""
    from onefold.service.cli import segments as commands

    with _service(address) as (channel, _):
        commands.list_all(channel, json)


@segment_commands.command("show")
def segment_show(
    key: SegmentKey,
    history: Annotated[
        int, typer.Option(metavar="FRAMES", help="Tell how many were in it, in so many frames back.", min=0, max=1_000)
    ] = 0,
    address: Address = None,
    json: Json = False,
) -> None:
    """Show a segment."""
    from onefold.service.cli import segments as commands

    with _service(address) as (channel, _):
        commands.show(channel, key, history, json)


@segment_commands.command(
    "create", epilog="Example: onefold segment create winback --rule 'overdue > 2 && spend > 500'"
)
def segment_create(
    key: SegmentKey,
    rule: Annotated[str, typer.Option(metavar="RULE", help="Who is in it.")] = "",
    records: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Or who has one of these records, a name a line."
        ),
    ] = None,
    description: Description = "",
    owner: Owner = "",
    address: Address = None,
    json: Json = False,
) -> None:
    """Make a segment, by a rule or as a list."""
    from onefold.service.cli import segments as commands

    with _service(address) as (channel, _):
        commands.create(channel, key, rule, records, description, owner, json)


@segment_commands.command("update", epilog="Example: onefold segment update winback --rule 'overdue > 3'")
def segment_update(
    key: SegmentKey,
    rule: Annotated[str | None, typer.Option(metavar="RULE", help="Who is in it from now on.")] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Or who has one of these records, a name a line."
        ),
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="WORDS", help="What it is for.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="WHO", help="Who answers for it.")] = None,
    etag: Annotated[
        str, typer.Option(metavar="ETAG", help="Only if this is still its etag, as shown with --json.")
    ] = "",
    address: Address = None,
    json: Json = False,
) -> None:
    """Change a segment; what is not given stays."""
    from onefold.service.cli import segments as commands

    with _service(address) as (channel, _):
        commands.update(channel, key, rule, records, description, owner, etag, json)


@segment_commands.command("delete")
def segment_delete(key: SegmentKey, address: Address = None) -> None:
    """Delete a segment that nothing reads."""
    from onefold.service.cli import segments as commands

    with _service(address) as (channel, _):
        commands.delete(channel, key)


@segment_commands.command("preview", epilog="Example: onefold segment preview --rule 'overdue > 2 && spend > 500'")
def segment_preview(
    key: MaybeSegmentKey = "", rule: RuleText = "", address: Address = None, json: Json = False
) -> None:
    """Count who would be in, with examples and with those who are in other segments too."""
    from onefold.service.cli import segments as commands

    group = commands.group_of(key, rule)
    with _service(address) as (channel, _):
        commands.preview(channel, group, json)


@segment_commands.command("members")
def segment_members(key: MaybeSegmentKey = "", rule: RuleText = "", address: Address = None) -> None:
    """Print the id of everybody who is in, a line each."""
    from onefold.service.cli import segments as commands

    group = commands.group_of(key, rule)
    with _service(address) as (channel, _):
        commands.members(channel, group)


@segment_commands.command("check", epilog="Example: onefold segment check email:ann@example.org winback")
def segment_check(
    subject: SubjectWords,
    key: MaybeSegmentKey = "",
    rule: RuleText = "",
    region: Region = "",
    address: Address = None,
    json: Json = False,
) -> None:
    """Say whether a person is in, and what each clause came to, by which values."""
    from onefold.service.cli import segments as commands
    from onefold.service.cli.subjects import in_words_of_the_command, parse_subject

    group, wanted = commands.group_of(key, rule), parse_subject(subject, region)
    with _service(address) as (channel, _):
        try:
            commands.check(channel, group, wanted, json)
        except InvalidInput as error:
            raise in_words_of_the_command(error, wanted) from error


@segment_commands.command("export", epilog="Example: onefold segment export winback.csv winback --on email")
def segment_export(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Its ending says how: .csv, .parquet or .jsonl.", show_default=False),
    ],
    key: MaybeSegmentKey = "",
    rule: RuleText = "",
    feature: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A feature to give beside the ids. May be repeated.")
    ] = None,
    on: Annotated[str, typer.Option(metavar="KIND", help="Only who can be reached so: email or phone.")] = "",
    address: Address = None,
) -> None:
    """Write who is in to a file, a row each, all from one frame."""
    from onefold.service.cli import segments as commands

    group = commands.group_of(key, rule)
    with _service(address) as (channel, _):
        commands.export(channel, group, file, feature or [], on)


@segment_commands.command("snapshot", epilog="Example: onefold segment snapshot winback_may winback")
def segment_snapshot(
    new: Annotated[str, typer.Argument(metavar="NEW", help="The key of the new one.", show_default=False)],
    key: MaybeSegmentKey = "",
    rule: RuleText = "",
    address: Address = None,
    json: Json = False,
) -> None:
    """Fix who is in now as a new segment, which keeps them whatever becomes of the rule."""
    from onefold.service.cli import segments as commands

    group = commands.group_of(key, rule)
    with _service(address) as (channel, _):
        commands.snapshot(channel, group, new, json)


@segment_commands.command("measure", epilog="Example: onefold segment measure --rule 'orders_30d >= 2' --days 60")
def segment_measure(
    key: MaybeSegmentKey = "",
    rule: RuleText = "",
    days: Annotated[int, typer.Option(min=1, metavar="N", help="How long the window is.")] = 30,
    start: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", help="When it begins, UTC: 2011-09-10. Default: it ends with the frame."),
    ] = None,
    outside: Annotated[
        str, typer.Option(metavar="SEGMENT", help="Whom to hold it against, as a hold-out. Default: all others.")
    ] = "",
    address: Address = None,
    json: Json = False,
) -> None:
    """Measure what a group did within a window, beside comparable people: who bought, again, for how much."""
    from onefold.service.cli import segments as commands

    group = commands.group_of(key, rule)
    others = commands.group_of(outside, "") if outside else None
    with _service(address) as (channel, _):
        commands.measure(channel, group, others, start, days, json)


@segment_commands.command("lookalike", epilog="Example: onefold segment lookalike best --size 500 --save like_best")
def segment_lookalike(
    key: MaybeSegmentKey = "",
    rule: RuleText = "",
    size: Annotated[int, typer.Option(min=1, metavar="N", help="How many.")] = 1_000,
    save: Annotated[str, typer.Option(metavar="NEW", help="Keep them as a new segment, a list.")] = "",
    address: Address = None,
    json: Json = False,
) -> None:
    """Find those who look most like a group without being in it, and say how well that can be told."""
    from onefold.service.cli import segments as commands

    group = commands.group_of(key, rule)
    with _service(address) as (channel, _):
        commands.lookalike(channel, group, size, save, json)


@segment_commands.command("clusters", epilog="Example: onefold segment clusters --keep clusters.json")
def segment_clusters(
    feature: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="A number to cluster by. May be repeated. Default: how recent, often, much."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Goes on from the clusters in it, and leaves the new ones."),
    ] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Find people who are alike: how many kinds of them there are, and what sets each apart."""
    from onefold.service.cli import segments as commands

    with _service(address) as (channel, _):
        commands.clusters(channel, feature or [], keep, json)


@app.command(epilog="Example: onefold insight about_to_leave --page report")
def insight(
    key: MaybeSegmentKey = "",
    rule: RuleText = "",
    page: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a page with charts too, insight.html.")
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="With --page: each chart also as a PNG file.")] = False,
    address: Address = None,
    json: Json = False,
) -> None:
    """Tell what a segment is like beside everybody: who is in, when they come, what they buy, and how sure that is."""
    from onefold.service.cli import segments as commands

    if png and page is None:
        raise typer.BadParameter("--png needs a --page FOLDER to write to")
    group = commands.group_of(key, rule)
    with _service(address) as (channel, _):
        commands.describe(channel, group, page, png, json)


@segment_commands.command("watch", epilog="Example: onefold segment watch winback --after 0")
def segment_watch(
    segment: Annotated[list[str] | None, typer.Argument(metavar="[SEGMENT]...", show_default=False)] = None,
    after: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Go on after this place; 0: from the first. Default: from now on."),
    ] = None,
    address: Address = None,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a change.")] = False,
) -> None:
    """Print who comes into segments and who leaves them, as it is written, until Ctrl-C."""
    from onefold.service.cli import segments as commands

    with _service(address) as (channel, _):
        commands.watch(channel, segment or [], after, json)


@feature_commands.command("list", epilog="Example: onefold features list --json")
def features_list(
    json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As the page docs/features.md.")] = False,
) -> None:
    """List every feature with its meaning, unit, type and topic."""
    from onefold.service.cli import features as commands

    commands.list_all(json, markdown)


@feature_commands.command("show", epilog="Example: onefold features show days_since_order")
def features_show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As `onefold features list` names it.", show_default=False)],
    json: Json = False,
) -> None:
    """Show all there is to know about one feature: its formula, its as-of rule, its words."""
    from onefold.service.cli import features as commands

    commands.show(key, json)


@feature_commands.command("export", epilog="Example: onefold features export features.parquet --as-of 2011-09-10")
def features_export(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Its ending says how: .csv, .json, .jsonl or .parquet.", show_default=False
        ),
    ],
    feature: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Only this feature. May be repeated. Default: all.", show_default=False),
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"],
            help="Of what had happened before this instant, UTC. Default: the newest order.",
            show_default=False,
        ),
    ] = None,
    data_folder: DataFolder = None,
) -> None:
    """Write the features of everyone who has bought anything to a file, a row each. Who is who is as of now."""
    settings = _settings(data_folder=data_folder)
    from onefold.graph.model import to_instant
    from onefold.service.cli import features as commands

    commands.export(settings, file, None if as_of is None else to_instant(as_of.replace(tzinfo=UTC)), feature or [])


def _settings(**given: Any) -> Settings:
    from onefold.service import settings

    return settings.load(**given)


@contextmanager
def _service(address: str | None) -> Iterator[tuple[grpc.Channel, str]]:
    """A channel to the running service, which is known to answer."""
    from onefold.service import client

    settings = _settings()
    target = address or client.address_of(settings)
    with client.open_channel(target, settings) as channel:
        client.require_service(channel, target)
        yield channel, target
