"""`stammgast rules`: programme files checked, shown in plain words, and published."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, options, sentence
from rules.book import Programme, load_directory
from rules.errors import Problem, ProgrammeErrors
from rules.files import contradictions_in
from rules.plan import Rule
from schemas.times import to_text

if TYPE_CHECKING:
    from rich.console import Console

    from engine.stream.clients import Cluster
    from engine.stream.programmes import Outcome

_PATH = click.argument("path", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


@click.group("rules")
def rules() -> None:
    """Check, show and publish reward programmes.

    PATH is a directory with one YAML file per version, or one file.
    """


@rules.command("check")
@_PATH
@options("profile_key_file", "profile_keys")
@_JSON
def check(path: Path, profile_key_file: Path | None, profile_keys: Path | None, as_json: bool) -> None:
    """Find every mistake in PATH: file, line, field, what is wrong and how to mend it. Exit code 1 if there is one.

    Where there is no mistake, contradictions are looked for, by name: what is correct and cannot be meant, such as
    cap_below_award, never_fires, unreachable_tier, unaffordable_reward, award_depends_on_rating, never_said.

    Where the deployment has no keys for profiles (neither the options nor their variables), rules that come to nobody without
    are named: birthdays, notices, conditions on profile and consent. The keys themselves are not opened.
    """
    _must_exist(path)
    try:
        programmes = load_directory(path)
    except ProgrammeErrors as errors:
        if as_json:
            click.echo(_dump({"ok": False, "problems": [problem.as_dict() for problem in errors.problems]}))
        else:
            _tell(errors.problems)
        raise No(_count(len(errors.problems), "mistake") + f" in {path}") from None
    if found := contradictions_in(path):
        if as_json:
            click.echo(_dump({"ok": False, "problems": [problem.as_dict() for problem in found]}))
        else:
            _tell(found)
        raise No(_count(len(found), "contradiction") + f" in {path}")
    if as_json:
        versions = [_brief(programme) | {"needs_profiles": _needs(programme)} for programme in programmes]
        click.echo(_dump({"ok": True, "problems": [], "versions": versions}))
        return
    has_keys = profile_key_file is not None and profile_keys is not None
    for programme in programmes:
        click.echo(f"{programme.name} version {programme.version}, {_span(programme)}: {_size(programme)}, no mistakes")
        if not has_keys and (needs := _needs(programme)):
            said = ", ".join(f"{rule} ({', '.join(asks)})" for rule, asks in needs.items())
            click.echo(
                f"    to nobody without profiles: {said}. Profiles are refused here: give workers --profile-key-file and "
                "--profile-keys (docs/privacy.md)"
            )


def _needs(programme: Programme) -> dict[str, list[str]]:
    """{rule: what it asks a profile for}, of the rules that come to nobody without."""
    from rules.profile_needs import profile_needs

    return {need.rule: list(need.asks) for need in profile_needs(programme.document)}


@rules.command("show")
@_PATH
@_JSON
def show(path: Path, as_json: bool) -> None:
    """Show the programme in PATH in plain words: its versions and their rules in the order in which they are asked."""
    programmes = _load(path)
    if as_json:
        click.echo(_dump([_full(programme) for programme in programmes]))
        return
    for programme in programmes:
        _print_programme(programme)


@rules.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@_JSON
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Say in words what changed from OLD to NEW, and whom it touches. Of a directory the newest version counts.

    Exit codes: 0 said (also where nothing changed), 1 one of them has mistakes, 2 wrong usage.
    """
    from dataclasses import asdict

    from rules.differing import differences

    before, after = _load(old)[-1], _load(new)[-1]
    changes = differences(before, after)
    if as_json:
        found = {"old": _brief(before), "new": _brief(after), "changes": [asdict(change) for change in changes]}
        click.echo(_dump(found))
        return
    click.echo(f"{before.name} version {before.version} -> {after.name} version {after.version}")
    if not changes:
        click.echo("nothing that a guest would notice")
    for change in changes:
        click.echo(f"{click.style(change.what, bold=True)} {change.how}")
        for line in change.lines:
            click.echo(f"    {line}")
        click.echo(f"    touches: {change.touches}")


@rules.command("schema")
def schema() -> None:
    """Print the JSON Schema of a programme file, for editors."""
    from rules.schema import schema_text

    click.echo(schema_text(), nl=False)


@rules.command("publish")
@_PATH
@option("bootstrap", required=True)
@option("topic_prefix")
@click.option(
    "--backdate",
    is_flag=True,
    help="Allow a version that begins before facts that are decided; those stay as they are.",
)
@kafka_security_options
@_JSON
def publish(
    path: Path, bootstrap: str, topic_prefix: str, backdate: bool, security: KafkaSecurity, as_json: bool
) -> None:
    """Make the versions in PATH known to a running deployment, from their place in the log on. Publishing twice is one."""
    from aiokafka.errors import KafkaError

    from engine.stream import programmes as published
    from engine.stream.clients import Cluster, KafkaTrouble

    versions = _load(path)
    cluster = Cluster(bootstrap, security)
    try:
        outcome = asyncio.run(_publish(cluster, topic_prefix, versions, backdate))
    except (published.BackdateNeeded, published.VersionsConflict, published.UnreadableVersion) as refusal:
        raise No(sentence(refusal)) from refusal
    except KafkaTrouble as trouble:
        raise UsageError(sentence(trouble)) from trouble
    except KafkaError as error:
        raise No(f"Kafka at {bootstrap} did not take the versions: {error}; publish them again.") from error
    if as_json:
        new, known = ([_brief(version) for version in group] for group in (outcome.written, outcome.known))
        click.echo(_dump({"published": new, "known": known, "partitions": outcome.partitions}))
        return
    for version in outcome.written:
        where = _count(outcome.partitions, "partition")
        click.echo(f"published {version.name} version {version.version}, {_span(version)}, to {where}: {version.hash}")
    for version in outcome.known:
        click.echo(f"skipped {version.name} version {version.version}: published already: {version.hash}")


async def _publish(cluster: Cluster, prefix: str, versions: Sequence[Programme], backdate: bool) -> Outcome:
    from engine.stream.generations import living
    from engine.stream.programmes import publish as append
    from engine.stream.topics import Layout

    await living(cluster, Layout(prefix=prefix))  # a version that nobody reads would change nothing
    return await append(cluster, prefix, versions, backdate=backdate)


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or directory; give one YAML file or a directory of them")


def _load(path: Path) -> list[Programme]:
    _must_exist(path)
    try:
        return load_directory(path)
    except ProgrammeErrors as errors:
        _tell(errors.problems)
        raise No(f"{_count(len(errors.problems), 'mistake')} in {path}; nothing was done") from None


def _tell(problems: Sequence[Problem]) -> None:
    """Print mistakes like a compiler does, so that an editor can jump to them."""
    for problem in problems:
        place = f"{problem.file}:{problem.line}" if problem.line else problem.file
        field = f"{problem.field}: " if problem.field else ""
        click.echo(f"{click.style(place, bold=True)}: {field}{problem.message}", err=True)
        if problem.proposal:
            click.echo(f"    {problem.proposal}", err=True)


def _dump(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# ---- a programme, for people and for machines ----


def _span(programme: Programme) -> str:
    valid = programme.document.valid
    end = f"until {valid.until}" if valid.until else "until the next version"
    return f"from {valid.from_} {end} ({programme.time_zone.key})"


def _size(programme: Programme) -> str:
    tiers = len(programme.tiers.levels) if programme.tiers else 0
    return f"{_count(len(programme.document.earn), 'rule')}, {_count(tiers, 'tier')}"


def _brief(programme: Programme) -> dict[str, Any]:
    until = programme.valid_until_us
    return {
        "programme": programme.name,
        "version": programme.version,
        "hash": programme.hash,
        "valid_from": to_text(programme.valid_from_us),
        "valid_until": None if until is None else to_text(until),
        "time_zone": programme.time_zone.key,
        "currency": programme.currency,
    }


def _in_order(programme: Programme) -> list[tuple[str, Rule]]:
    return [(on, rule) for on, ordered in programme.rules_on.items() for rule in ordered]


def _full(programme: Programme) -> dict[str, Any]:
    from rules.moment_words import given_words, moment_words
    from rules.words import condition_words, effect_words

    said = {rule.id: rule for rule in programme.document.earn}
    order = [
        {
            "on": on,
            "phase": rule.phase,
            "priority": rule.priority,
            "id": rule.id,
            "gives": effect_words(said[rule.id]),
            "when": condition_words(said[rule.id]),
        }
        for on, rule in _in_order(programme)
    ]
    moments = [
        {"id": rule.id, "gives": given_words(rule), "when": moment_words(rule)}
        for rule in programme.document.moments or ()
    ]
    return {**_brief(programme), "order": order, "moments": moments, "document": json.loads(programme.canonical_json())}


def _print_programme(programme: Programme) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from rules.lot_words import point_words, reward_words
    from rules.money_words import money_words
    from rules.play_words import play_words
    from rules.words import condition_words, effect_words, refer_words, tier_words, who_words

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(f"[bold]{programme.name}[/bold] version {programme.version}, {escape(_span(programme))}")
    console.print(f"hash {programme.hash}, {programme.currency}, points are called {escape(programme.points_name)}")
    table = Table(title="Rules, in the order in which they are asked", title_justify="left")
    for column in ("on", "phase", "rule", "gives", "when"):
        table.add_column(column, overflow="fold")
    said = {rule.id: rule for rule in programme.document.earn}
    for on, rule in _in_order(programme):
        words = effect_words(said[rule.id]), condition_words(said[rule.id])
        table.add_row(on, rule.phase, rule.id, *(escape(text) for text in words))
    console.print(table)
    _print_moments(programme, console)
    if programme.document.tiers is not None:
        how, *levels = tier_words(programme.document.tiers)
        console.print(f"Tiers {escape(how)}")
        for level in levels:
            console.print(f"  {escape(level)}")
    for line in who_words(programme.document):
        console.print(f"Members: {escape(line)}")
    for reward in reward_words(programme.document):
        console.print(f"Reward {escape(reward)}")
    for line in play_words(programme.document):
        console.print(escape(line))
    if points := point_words(programme.document.points):
        console.print(f"Points: {escape('; '.join(points))}")
    if referral := refer_words(programme.document):
        console.print(f"Referrals: {escape(referral)}")
    for line in money_words(programme.document):
        console.print(escape(line))
    console.print()


def _print_moments(programme: Programme, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    from rules.moment_words import given_words, moment_words, quiet_words

    if programme.document.moments is None:
        return
    table = Table(title="Moments", title_justify="left")
    for column in ("rule", "comes", "gives and says"):
        table.add_column(column, overflow="fold")
    for rule in programme.document.moments:
        table.add_row(rule.id, escape(moment_words(rule)), escape(given_words(rule)))
    console.print(table)
    for line in quiet_words(programme.document):
        console.print(f"Quiet: {escape(line)}")
