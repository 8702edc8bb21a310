from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import Gaia, installation


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
