"""What a mail says: a folder per template, a file per language, filled in a sandbox.

templates/birthday/de.txt     Subject: Noch {{ days }} Tage
                              (an empty line)
                              Wir schenken Ihnen {{ points }} Punkte ...
templates/birthday/de.html    optional, the same in HTML; values are escaped in it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.deliver.sending import ConfigBroken
from schemas.notices import NoticeEvent

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_SUBJECT = "Subject:"


class NoTemplate(Exception):
    """There is no file for this template in this language, nor in the default one."""


class TemplateFails(Exception):
    """A template asks for a value that the notice does not have, or for something a template may not do."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail's subject and bodies, filled in."""

    subject: str
    text: str
    html: str | None


class Templates:
    """A folder of templates. Files are read again when they change."""

    def __init__(self, folder: Path, default_language: str) -> None:
        """Errors: ConfigBroken when there is no such folder, or a template in it cannot be read."""
        if not folder.is_dir():
            raise ConfigBroken(f"templates: there is no folder {folder}")
        self._default = default_language
        self._environment = ImmutableSandboxedEnvironment(
            loader=jinja2.FileSystemLoader(folder),
            undefined=jinja2.StrictUndefined,
            autoescape=lambda name: name is not None and name.endswith(".html"),
            keep_trailing_newline=False,
        )
        self._check(folder)

    def _check(self, folder: Path) -> None:
        for path in sorted((*folder.glob("*/*.txt"), *folder.glob("*/*.html"))):
            name = path.relative_to(folder).as_posix()
            try:
                self._environment.get_template(name)
                if path.suffix == ".txt" and not path.read_text(encoding="utf-8").startswith(_SUBJECT):
                    raise ConfigBroken(f"template {name}: its first line must read `{_SUBJECT} ...`")
            except jinja2.TemplateSyntaxError as error:
                raise ConfigBroken(f"template {name}, line {error.lineno}: {error.message}") from error
            except UnicodeDecodeError as error:
                raise ConfigBroken(f"template {name}: not UTF-8") from error

    def letter(self, notice: NoticeEvent) -> Letter:
        """The mail that a notice asks for. Errors: NoTemplate, TemplateFails."""
        data = notice["data"]
        text = self._find(data["template"], data["language"], "txt")
        if text is None:
            raise NoTemplate
        html = self._find(data["template"], data["language"], "html")
        known: dict[str, Any] = {**data["values"], "notice": notice, "reason": data["reason"]["text"]}
        try:
            filled = text.render(known)
            body = None if html is None else html.render(known)
        except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, LookupError) as error:
            raise TemplateFails from error
        first, _, rest = filled.partition("\n")
        return Letter(" ".join(first.removeprefix(_SUBJECT).split()), rest.lstrip("\n") + "\n", body)

    def _find(self, template: str, language: str | None, suffix: str) -> jinja2.Template | None:
        """The file that fits best: de-AT, else de, else the default language."""
        if not _NAME.fullmatch(template):
            return None
        for one in _languages(language, self._default):
            try:
                return self._environment.get_template(f"{template}/{one}.{suffix}")
            except jinja2.TemplateNotFound:
                continue
        return None


def _languages(language: str | None, default: str) -> Iterator[str]:
    """BCP 47 tags from the exact one to the general one. Source: RFC 4647, lookup."""
    parts = (language or default).split("-")
    while parts:
        tag = "-".join(parts)
        if _NAME.fullmatch(tag):
            yield tag
        parts.pop()
    yield default
