"""Programme files: a directory holds the versions of one programme, one file per version, not edited once in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from rules.checks import validate
from rules.compiling import compile_programme
from rules.contradictions import contradictions
from rules.draft import Draft, read_yaml
from rules.errors import Problem, ProgrammeErrors
from rules.language import ProgrammeFile
from rules.plan import Programme

SUFFIXES = (".yaml", ".yml")


def read_directory(path: Path) -> list[Programme]:
    """Read, check and compile every version in a directory (or one file), in the order in which they begin.

    Raises:
        ProgrammeErrors: with every problem of every file.
    """
    drafts: list[Draft] = []
    found: list[_Version] = []
    for file in programme_files(path):
        draft = read_file(file)
        document = validate(draft)
        drafts.append(draft)
        if document is not None:
            found.append(_Version(draft, document, compile_programme(document)))
    found.sort(key=lambda version: (version.programme.valid_from_us, version.draft.file))
    _check_names(drafts)
    _check_versions(found)
    problems = [problem for draft in drafts for problem in draft.problems]
    if problems:
        raise ProgrammeErrors(problems)
    return [version.programme for version in found]


def contradictions_in(path: Path) -> list[Problem]:
    """Return what the programme files of ``path`` say that cannot be meant; files with mistakes say nothing here."""
    found: list[Problem] = []
    for file in programme_files(path):
        draft = read_file(file)
        document = validate(draft)
        for one in () if document is None else contradictions(document):
            message = f"{one.name}: {one.message}"
            found.append(Problem(draft.file, draft.line(one.path), draft.said(one.path), message, one.proposal))
    return found


def programme_files(path: Path) -> list[Path]:
    """Return the programme files of ``path``, by name.

    Raises:
        ProgrammeErrors: nothing is there, or nothing of the kind.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ProgrammeErrors([Problem(str(path), 0, "", "there is no such file or directory", "check the path")])
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))
    if not files:
        inside = sorted(str(folder) for folder in path.iterdir() if folder.is_dir() and _holds_files(folder))
        proposal = f"did you mean {inside[0]}?" if inside else "one version is one .yaml file"
        raise ProgrammeErrors([Problem(str(path), 0, "", "no programme files in this directory", proposal)])
    return files


def _holds_files(folder: Path) -> bool:
    return any(file.suffix in SUFFIXES for file in folder.iterdir())


def read_file(file: Path) -> Draft:
    """Read one file as far as it can be read."""
    draft = Draft(str(file))
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        draft.report((), f"not UTF-8: byte {error.start} of the file", "save it as UTF-8")
    except OSError as error:
        draft.report((), f"cannot be read: {error.strerror}", "check the file and its rights")
    else:
        draft = read_yaml(text, str(file))
    return draft


# ---- what only the whole directory can tell ----


@dataclass(frozen=True, slots=True)
class _Version:
    draft: Draft
    document: ProgrammeFile
    programme: Programme


def _check_names(drafts: list[Draft]) -> None:
    named = [(draft, name) for draft in drafts if isinstance(name := draft.at("programme"), str)]
    for draft, name in named[1:]:
        if name != named[0][1]:
            first = named[0][0].file
            message = f"two programmes in one directory: this is {name}, {first} is {named[0][1]}"
            draft.report(("programme",), message, "one directory holds the versions of one programme")


def _check_versions(versions: list[_Version]) -> None:
    for earlier, later in pairwise(versions):
        if earlier.programme.name != later.programme.name:
            continue
        _check_begin(earlier, later)
        if later.programme.version <= earlier.programme.version:
            later.draft.report(
                ("version",),
                f"version {later.programme.version} begins after version {earlier.programme.version} of "
                f"{earlier.draft.file}",
                f"numbers rise: write version: {earlier.programme.version + 1}",
            )


def _check_begin(earlier: _Version, later: _Version) -> None:
    begin, end = later.document.valid.from_, earlier.document.valid.until
    if earlier.programme.valid_from_us == later.programme.valid_from_us:
        message = f"begins with {earlier.draft.file}: from {begin}"
        later.draft.report(("valid", "from"), message, "versions do not overlap: give it a day of its own")
    ends_us = earlier.programme.valid_until_us
    if end is not None and ends_us is not None and ends_us > later.programme.valid_from_us:
        last = (begin.local - timedelta(days=1)).date().isoformat() if begin.whole_day else str(begin)
        message = f"until {end} overlaps {later.draft.file}, which begins {begin}"
        earlier.draft.report(("valid", "until"), message, f"write until: {last}, or take until out")
