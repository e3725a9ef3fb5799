"""The configuration file of `stammgast deliver`: which sender serves which channel, and how."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from engine.deliver.sending import Channel, ConfigBroken, Sender
from engine.deliver.smtp import SmtpSender
from engine.deliver.webhook import WebhookSender

#: The senders that come along, by the name that a channel calls them.
SENDERS: Mapping[str, type[Sender]] = {"webhook": WebhookSender, "smtp": SmtpSender}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    other_channels: Literal["dead", "ignore"] = "dead"
    channels: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says.

    Attributes:
        channels: by the name that a notice gives its channel.
        senders: ready to send, by the same name.
        ignore_others: a notice of another channel is somebody else's; else it is a dead letter.
    """

    channels: Mapping[str, Channel]
    senders: Mapping[str, Sender]
    ignore_others: bool


def read_config(path: Path) -> Config:
    """Read the file and make the senders. Errors: ConfigBroken."""
    try:
        said = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigBroken(f"{path}: {error.strerror}; docs/deliver.md shows one") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigBroken(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    except ValidationError as error:
        raise ConfigBroken(f"{path}: {'; '.join(_mistakes(error, _File))}") from error
    if not said.channels:
        raise ConfigBroken(
            f"{path}: no channel is named: write for example `channels: {{mail: {{sender: smtp, ...}}}}`"
        )
    channels, senders = {}, {}
    for name, entry in said.channels.items():
        where = f"{path}: channel {name}"
        kind = sender_of(entry.get("sender"), where)
        try:
            channels[name] = kind.Settings.model_validate(entry)
        except ValidationError as error:
            raise ConfigBroken(f"{where}: {'; '.join(_mistakes(error, kind.Settings))}") from error
        try:
            senders[name] = kind(channels[name], path.parent)
        except ConfigBroken as error:
            raise ConfigBroken(f"{where}: {error}") from error
    return Config(channels, senders, said.other_channels == "ignore")


def sender_of(name: object, where: str) -> type[Sender]:
    """The class of a sender: one that comes along, or MODULE:CLASS. Errors: ConfigBroken."""
    if not isinstance(name, str) or not name:
        raise ConfigBroken(f"{where}: `sender` is missing: {', '.join(SENDERS)}, or MODULE:CLASS of your own")
    if name in SENDERS:
        return SENDERS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigBroken(f"{where}: there is no sender `{name}`{_near(name, SENDERS)}; of your own: MODULE:CLASS")
    try:
        found: type[Sender] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigBroken(f"{where}: sender {name} cannot be loaded ({error}): is it on the Python path?") from error
    if not (isinstance(getattr(found, "Settings", None), type) and issubclass(found.Settings, Channel)):
        raise ConfigBroken(f"{where}: sender {name} has no `Settings` that is a Channel: docs/deliver.md shows one")
    return found


def _mistakes(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in one["loc"])
        near = _near(where, model.model_fields) if one["type"] == "extra_forbidden" else ""
        yield f"{where or 'the file'}: {one['msg']}{near}"


def _near(word: str, known: Mapping[str, object]) -> str:
    found = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean `{found[0]}`?)" if found else f" (known are {', '.join(known)})"
