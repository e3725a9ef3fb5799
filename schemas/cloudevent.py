"""The CloudEvents 1.0 envelope as it arrives.

Source: CloudEvents specification 1.0.2, JSON event format.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

RFC3339 = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$"
Text = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Envelope(BaseModel):
    """CloudEvents attributes; extension attributes are allowed and not kept."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    specversion: Literal["1.0"]
    id: Text
    # A URI reference has no bar, and names of orders are `<source>|<order_id>`.
    source: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f|]+$")]
    type: Text
    subject: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    time: Annotated[str, Field(pattern=RFC3339)] = Field(description="RFC 3339 with an offset")
    datacontenttype: Literal["application/json"] | None = None
