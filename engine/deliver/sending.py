"""What a sender is: one small class that hands one notice to the outside, and says what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from schemas.notices import NoticeEvent

#: ``sent``: the other side has it; ``bounced``: it says that nobody can be reached there, ever; ``later``: try again;
#: ``never``: trying again brings nothing, so a person must look at it.
Kind = Literal["sent", "bounced", "later", "never"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt.

    Attributes:
        reason: a word such as ``status_503``: it goes into logs, metrics and facts, so it never holds an address.
        after_seconds: of ``later``: the other side asked to be left alone for so long.
    """

    kind: Kind
    reason: str = ""
    after_seconds: float | None = None


SENT = Answer("sent")


class Channel(BaseModel):
    """What every channel says, whoever sends it; a sender's own settings are a subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    sender: str = Field(description="webhook, smtp, or MODULE:CLASS of your own")
    rate_per_second: Annotated[float, Field(gt=0)] | None = Field(None, description="at most so many attempts a second")
    concurrency: Annotated[int, Field(ge=1, le=1_000)] = Field(8, description="attempts under way at once")
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = Field(10.0, description="longest time for one attempt")
    attempts: Annotated[int, Field(ge=1)] = Field(24, description="then it is a dead letter")
    first_retry_seconds: Annotated[float, Field(gt=0)] = Field(2.0, description="doubled with every attempt ...")
    longest_retry_seconds: Annotated[float, Field(gt=0)] = Field(3_600.0, description="... up to this")


class Sender(Protocol):
    """Hands notices to the outside. Made once per channel, used by many tasks at once."""

    #: The model of its settings in the configuration file.
    Settings: ClassVar[type[Channel]]

    def __init__(self, settings: Any, folder: Path) -> None:
        """Errors: ConfigBroken for settings that cannot work. Paths in them count from `folder`."""
        ...

    async def send(self, notice: NoticeEvent, body: bytes) -> Answer:
        """Try once; `body` is the record of `incentives`. It bounds its own time by `timeout_seconds`; whatever it raises
        is taken as ``later``."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class ConfigBroken(Exception):
    """The configuration cannot be used; the message says where, why and how to mend it."""
