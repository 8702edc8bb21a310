from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import Gaia, installation

KILLS = int(os.environ.get("GAIA_CHAOS_KILLS") or 50)
"""How many there are in a run: 50 in every one, 500 and more at night."""
ADOPTED_S = 5.0
"""Seconds after which a restarted daemon has adopted what runs (invariant 5)."""


@pytest.fixture
def gaia(transactional_db: None, tmp_path: Path) -> Iterator[Gaia]:
    """An installation on the test's home and database that can run the operations of tests; not up yet."""
    from tests.environments.places import free_ports

    with free_ports() as base:
        yield from installation(
            tmp_path,
            DJANGO_SETTINGS_MODULE="tests.processes.operation_settings",
            GAIA_ENVIRONMENTS_BASE_PORT=str(base),
        )
