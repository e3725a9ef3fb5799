"""The command `stammgast`: a table of verbs, each loaded only when it is used, so that `--help` stays quick."""

import difflib
import importlib
import logging
from dataclasses import dataclass

import click

from engine.compiled import core
from engine.settings import UsageError


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb's click command lives (`module:attribute`) and the line that `stammgast --help` shows for it."""

    target: str
    help: str
    hidden: bool = False


VERBS: dict[str, Verb] = {
    "demo": Verb("engine.commands.demo:demo", "Run the two demo shops on an embedded broker and show what they know."),
    "up": Verb("engine.commands.up:up", "Broker (embedded unless --bootstrap), worker and projector in one go."),
    "worker": Verb("engine.commands.worker:worker", "Turn events into facts and facts into points."),
    "projector": Verb("engine.commands.projector:projector", "Keep a DuckDB file in step with the logs, and serve it."),
    "import": Verb("engine.commands.import_:import_", "Turn a till's export into events."),
    "conform": Verb(
        "engine.commands.conform:conform", "Examine events before they are published: schema, ids, times, order."
    ),
    "simulate": Verb(
        "engine.commands.simulate:simulate", "Make the events of an invented chain of shops, and the truth behind them."
    ),
    "publish": Verb("engine.commands.publish:publish", "Send a file of events to Kafka, in its order, acknowledged."),
    "replay": Verb("engine.commands.replay:replay", "The whole road offline: the same tables without Kafka."),
    "whatif": Verb(
        "engine.commands.whatif:whatif",
        "Try another programme on what happened: points, cost, members, before it is live.",
    ),
    "dump": Verb("engine.commands.dump:dump", "Write the facts log to a file, for replay."),
    "restore": Verb("engine.commands.restore:restore", "Write a dump into an empty Kafka: the same logs again."),
    "repartition": Verb(
        "engine.commands.repartition:repartition", "Copy the logs into more partitions, prove it, and cut over."
    ),
    "explain": Verb(
        "engine.commands.explain:explain", "Say why a member has these points: conditions, caps, lots, what followed."
    ),
    "query": Verb("engine.commands.query:query", "Ask the tables in SQL, also while a projector holds the file."),
    "readers": Verb("engine.commands.readers:readers", "Named readers: their tokens, and the server they attach to."),
    "segments": Verb("engine.commands.segments:segments", "Tell the engine who entered and left a segment, for rules."),
    "backtest-churn": Verb(
        "engine.commands.backtest_churn:backtest_churn",
        "Hold the churn flag to what members did: AUC, Brier, precision.",
    ),
    "export": Verb(
        "engine.commands.export:export_", "Write every table to Parquet, CSV or a DuckDB file, daily if asked."
    ),
    "console": Verb("engine.commands.console:console", "Show the tables in a browser: members, cohorts, churn, SQL."),
    "verify": Verb("engine.commands.verify:verify", "Prove that not one point was lost or doubled, or show what was."),
    "rejects": Verb("engine.commands.rejects:rejects", "List and show what was refused, and send it back."),
    "rules": Verb("engine.commands.rules:rules", "Check, show and publish reward programmes."),
    "gateway": Verb(
        "engine.commands.gateway:gateway", "Take events by HTTP, and answer tills: points, quotes, rewards."
    ),
    "deliver": Verb(
        "engine.commands.deliver:deliver", "Hand notices to webhooks and mail servers, and tell what became of them."
    ),
    "staff": Verb(
        "engine.commands.staff:staff", "Correct a member by hand: points, tier, cards; with operator and reason."
    ),
    "raffle": Verb("engine.commands.raffle:raffle", "Draw a raffle so that anybody can check it."),
    "forget": Verb("engine.commands.forget:forget", "Forget a person: destroy the profile, change no sum."),
    "keys": Verb("engine.commands.keys:keys", "Make, rotate and check the keys that profiles are sealed with."),
    "tick": Verb("engine.commands.tick:tick", "Settle every member up to a moment."),
    "topics": Verb("engine.commands.topics:topics", "Create a deployment's topics, or check those that are there."),
    "schemas": Verb(
        "engine.commands.schemas:schemas", "Write the JSON Schema of every event, and an AsyncAPI document."
    ),
    "compile": Verb(
        "engine.commands.compile:compile_", "Compile the core, where a C compiler is at hand: same results, faster."
    ),
    "bench": Verb(
        "engine.commands.bench:bench", "Measure this machine: intake, rewards, replay, projector, latency, gateway."
    ),
    "docs": Verb("engine.commands.docs:docs", "Refresh the generated parts of README.md.", hidden=True),
}


class LazyGroup(click.Group):
    """A group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the table, hidden ones left out."""
        return [name for name, verb in VERBS.items() if not verb.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, or None when there is no such verb."""
        verb = VERBS.get(cmd_name)
        return None if verb is None else load(cmd_name, verb)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table, without importing any of them."""
        rows = [(name, VERBS[name].help) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but an unknown verb is answered with the nearest known one."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in VERBS:
            raise UsageError(unknown_verb(name))
        return super().resolve_command(ctx, args)


def unknown_verb(name: str) -> str:
    """The sentence for a verb that does not exist."""
    near = difflib.get_close_matches(name, VERBS, n=1)
    hint = f"did you mean `stammgast {near[0]}`?" if near else "`stammgast --help` lists them."
    return f"there is no verb `{name}`: {hint}"


def load(name: str, verb: Verb) -> click.Command:
    """Import the command of a verb.

    Errors: UsageError when this installation lacks the verb's module; any other import error is our fault and surfaces.
    """
    module_name, _, attribute = verb.target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise UsageError(f"`stammgast {name}` is not part of this installation ({module_name} is missing).") from error
    command = getattr(module, attribute)
    if not isinstance(command, click.Command):
        raise TypeError(f"{verb.target} is no click command")
    return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(
    package_name="stammgast", prog_name="stammgast", message=f"%(prog)s, version %(version)s, core {core()}"
)
def main() -> None:
    """Stammgast keeps regulars coming back: events in, points by rules, answers in SQL.

    Every setting is an option or an environment variable STAMMGAST_<NAME>.
    Exit codes: 0 done, 1 the answer is no, 2 wrong usage.
    """
    # Until a role sets up its logs, a command speaks for itself: no warnings of libraries around its one clear message.
    for library in ("aiokafka", "faust", "mode"):
        logging.getLogger(library).addHandler(logging.NullHandler())
