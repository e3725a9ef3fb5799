"""`stammgast explain`: why a member has these points, and why not others; decided again from the logs, never stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import click

from engine.commands.programmes import load_programmes
from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, options, sentence
from engine.vault.vault import NoVault, Vault

if TYPE_CHECKING:
    from engine.explain.reading import Found, Line
    from engine.explain.telling import Life, Told
    from engine.verify.kafka import KafkaLogs
    from rules.book import Programme

_Opened: TypeAlias = "FileLogs | _OnKafka"
_FILE = click.Path(dir_okay=False, path_type=Path)


class HowMany(click.ParamType):
    """A number from 1, or `all`."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """The number, None for all of them."""
        if value == "all":
            return None
        if str(value).isdigit() and int(value) > 0:
            return int(value)
        return self.fail("write a number from 1, or all.", param, ctx)


@click.command()
@click.argument("what", metavar="MEMBER|ENTRY|FACT")
@option("bootstrap")
@option("topic_prefix")
@click.option("--facts", type=_FILE, metavar="FACTS.jsonl[.gz]", help="A dump of the facts log instead of Kafka.")
@click.option("--events", type=_FILE, metavar="EVENTS.jsonl[.gz]", help="Events as for replay instead of Kafka.")
@option("programme", help="The versions that decide --facts or --events.")
@options("profile_key_file", "profile_keys")
@click.option("--source", metavar="SOURCE", help="WHAT is the id of a fact of this source.")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="So many facts of a member.")
@click.option(
    "--lots",
    type=HowMany(),
    metavar="N|all",
    default=10,
    show_default=True,
    help="So many lots of a member, those that are spent first; JSON has all.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@kafka_security_options
def explain(
    *,
    what: str,
    bootstrap: str | None,
    topic_prefix: str,
    facts: Path | None,
    events: Path | None,
    programme: Path | None,
    profile_key_file: Path | None,
    profile_keys: Path | None,
    source: str | None,
    last: int,
    lots: int | None,
    as_json: bool,
    security: KafkaSecurity,
) -> None:
    """Say why: the fact, the version and rule, each condition with the value it saw, caps, lots, what followed.

    MEMBER shows where a member stands and his newest facts; FACT (its id) and ENTRY (its id) show one decision in full,
    with the rules that gave nothing and why they did not. Everything is decided again from the logs (--bootstrap), from
    a dump (--facts) or from events (--events).

    Exit codes: 0 explained, 1 nothing of this name is in the log, 2 wrong usage.
    """
    from engine.explain.reading import Ambiguous, NotExplained, find
    from engine.lines import ReplayError
    from engine.vault.vault import vault_of

    vault = vault_of(profile_key_file, profile_keys)
    with _opened(bootstrap, topic_prefix, security, facts or events, programme, facts is not None, vault) as logs:
        try:
            found = find(logs, what, source)
        except Ambiguous as error:
            raise No(
                f"several sources have a fact {what}: add --source {' or --source '.join(error.sources)}"
            ) from error
        except NotExplained as error:
            raise No(str(error)) from error
        except ReplayError as error:
            raise UsageError(sentence(error)) from error
        if not found:
            raise No(f"nothing is called {what} here: no member, no fact, no entry")
        _tell(logs, found, what, (last, lots), as_json)


def _life(logs: _Opened, found: Found) -> tuple[Life, Told | None]:
    """The facts of one key decided again, and the one that was asked about."""
    from engine.explain.reading import records
    from engine.explain.telling import tell
    from engine.ledger.member import CLOSED, ProfileUnavailable
    from engine.ledger.partition import UnknownProgramme

    try:
        life = tell(found.key, records(logs, found), logs.versions, found.at, logs.vault.opens(gone=CLOSED))
    except ProfileUnavailable as error:
        raise No(
            f"{error}. Give --profile-key-file and --profile-keys; of a member who was forgotten, what depended on his profile "
            "cannot be told any more."
        ) from error
    except UnknownProgramme as error:
        raise UsageError(f"the log knows the version {error.hash}, --programme does not: give all versions") from error
    return life, next((one for one in life.told if (one.partition, one.offset) == found.at), None)


def _tell(logs: _Opened, found: Sequence[Found], what: str, most: tuple[int, int | None], as_json: bool) -> None:
    """Print it; of a member at most so many facts and lots."""
    from engine.explain import words

    life, told = _life(logs, found[0])
    for other in found[1:]:  # an alias forwarded it: the member's own answer counts
        if told is None or told.decision.outcome != "forwarded":
            break
        life, told = _life(logs, other)
    entry_id = what if found[0].kind == "entry" else None
    if told is None:
        said: Any = words.life_data(life, most[0]) if as_json else words.life_words(life, *most)
    else:
        said = words.fact_data(life, told, entry_id) if as_json else words.fact_words(life, told, entry_id)
    if as_json:
        click.echo(json.dumps(said, indent=2, ensure_ascii=False))
        return
    for line in said:
        click.echo(line)


def _opened(
    bootstrap: str | None,
    prefix: str,
    security: KafkaSecurity,
    file: Path | None,
    programme: Path | None,
    dump: bool,
    vault: Vault,
) -> AbstractContextManager[_Opened]:
    from engine.vault.vault import EphemeralVault

    nowhere = "say where the facts are: --bootstrap HOST:PORT, or --facts FILE, or --events FILE"
    if file is not None and bootstrap is None:
        if programme is None:
            raise UsageError("--facts and --events need --programme DIR: the versions that decide them")
        if not file.is_file():
            raise UsageError(f"{file}: there is no such file")
        versions = {version.hash: version for version in load_programmes(programme)}
        return nullcontext(FileLogs(file, versions, dump, vault if dump else EphemeralVault()))
    if bootstrap is None or file is not None:
        raise UsageError(nowhere)
    return _OnKafka(bootstrap, prefix, security, vault)


@dataclass(slots=True)
class FileLogs:
    """A dump of the facts log, or a file of events; satisfies `engine.explain.reading.Logs`."""

    path: Path
    versions: Mapping[str, Programme]
    dump: bool
    vault: Vault = field(default_factory=NoVault)

    def facts(self) -> Iterator[Line]:
        """Every fact: of a dump as it stands there, of events as replay writes them."""
        from engine.explain.reading import Line, dumped
        from engine.lines import read_lines

        if self.dump:
            for number, line in enumerate(read_lines(self.path), 1):
                try:
                    yield dumped(line)
                except (ValueError, KeyError, TypeError) as error:
                    raise UsageError(f"{self.path}:{number}: no record of a facts dump ({error})") from error
            return
        for batch in self._decided():
            facts = batch.facts
            for partition, offset, value in zip(facts.partitions, facts.offsets, facts.values, strict=True):
                yield Line(partition, offset, value)

    def decisions(self) -> Iterator[tuple[int, bytes]]:
        """Every decision, made again."""
        for batch in self._decided():
            yield from zip(batch.decisions.partitions, batch.decisions.values, strict=True)

    def _decided(self) -> Iterator[Any]:
        from engine.lines import ReplayError
        from engine.replay import Replay

        run = Replay(list(self.versions.values()), vault=self.vault)
        try:
            yield from run.dump_file(self.path) if self.dump else run.file(self.path)
        except ReplayError as error:
            raise UsageError(sentence(error)) from error


class _OnKafka:
    """The logs of a deployment, opened and closed; satisfies `engine.explain.reading.Logs` while it is open."""

    def __init__(self, bootstrap: str, prefix: str, security: KafkaSecurity, vault: Vault) -> None:
        self.vault = vault
        self._where = (bootstrap, prefix, security)
        self._logs: KafkaLogs
        self._quarantined: dict[tuple[int, int], tuple[str, str]] | None = None
        self.versions: Mapping[str, Programme] = {}

    def __enter__(self) -> Self:
        from aiokafka.errors import KafkaError

        from engine.stream.clients import Cluster, KafkaTrouble
        from engine.stream.programmes import UnreadableVersion
        from engine.verify.kafka import KafkaLogs

        bootstrap, prefix, security = self._where
        try:
            self._logs = KafkaLogs(Cluster(bootstrap, security), prefix)
            self._logs.__enter__()
            self.versions = self._logs.programmes()
        except (KafkaTrouble, UnreadableVersion) as error:
            raise UsageError(sentence(error)) from error
        except KafkaError as error:
            raise No(f"Kafka at {bootstrap} stopped answering: {error or type(error).__name__}.") from error
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        from aiokafka.errors import KafkaError

        self._logs.__exit__(kind, error, trace)
        if isinstance(error, KafkaError):
            raise No(f"Kafka at {self._where[0]} stopped answering: {error or type(error).__name__}.") from error

    def facts(self) -> Iterator[Line]:
        """Every fact that has a decision or waits for one, with the quarantines of the points log."""
        from engine.explain.reading import Line
        from schemas.envelope import readable

        if self._quarantined is None:
            self._quarantined = dict(self._quarantines())
        for partition in range(self._logs.partitions):
            for record in self._logs.facts(partition):
                if readable(record.value) is not None:
                    given = self._quarantined.get((partition, record.offset))
                    yield Line(partition, record.offset, record.value, given)

    def _quarantines(self) -> Iterator[tuple[tuple[int, int], tuple[str, str]]]:
        from schemas.decisions import parse_decision

        for partition, value in self.decisions():
            if b'"quarantined"' in value and (decision := parse_decision(value)).outcome == "quarantined":
                text = decision.notes[0].text if decision.notes else ""
                yield (partition, decision.offset), (text, decision.reason or "quarantined")

    def decisions(self) -> Iterator[tuple[int, bytes]]:
        """Every decision of the points log."""
        for partition in range(self._logs.partitions):
            for record in self._logs.decisions(partition):
                if record.value is not None:
                    yield partition, record.value
