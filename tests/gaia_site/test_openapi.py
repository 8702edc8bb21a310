"""The API's description: complete, and the one that is committed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "docs" / "openapi.yaml"
COMMAND = "./gaia manage spectacular --file docs/openapi.yaml"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("openapi") / "openapi.yaml"
    call_command("spectacular", "--fail-on-warn", "--validate", "--file", str(path))
    return path.read_text()


def test_the_committed_description_is_the_generated_one(generated: str) -> None:
    assert COMMITTED.read_text() == generated, f"the API has changed; run {COMMAND}"


def test_every_operation_says_what_it_does(generated: str) -> None:
    document: dict[str, Any] = yaml.safe_load(generated)
    silent = [
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if not (operation.get("summary") or operation.get("description"))
    ]
    assert silent == []
    assert document["components"]["securitySchemes"].keys() == {"token", "cookieAuth"}
