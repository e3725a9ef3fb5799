"""What tests cannot do to a core that is machine code."""

from __future__ import annotations

import pytest

from engine.compiled import core

#: For tests that put something else in the place of a part of the core.
interpreted_only = pytest.mark.skipif(
    core() == "compiled",
    reason="what is compiled cannot be patched; the interpreted core shows it (STAMMGAST_COMPILED=0)",
)
