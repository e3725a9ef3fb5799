"""Fixtures that several comparisons share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.independent.test_independent_gift_shop import MONTH, replay_to


@pytest.fixture(scope="package")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled month under the gift shop's programme, replayed once."""
    return replay_to(MONTH, tmp_path_factory.mktemp("month"))
