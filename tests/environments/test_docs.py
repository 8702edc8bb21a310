"""What the documentation says of environments is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from environments.drivers import gaia_yaml
from environments.states import STAGE_NAMES, STAGE_PORT_OFFSETS
from gaia_site.cli.arguments import build_parser
from tests.environments.places import ROOT

PAGE = (ROOT / "docs/environments.md").read_text(encoding="utf-8")
START = (ROOT / "docs/getting-started.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("stage", STAGE_NAMES)
@pytest.mark.parametrize("example", range(len(EXAMPLES)))
def test_every_example_of_gaia_yaml_can_be_read(tmp_path: Path, example: int, stage: str) -> None:
    (tmp_path / "gaia.yaml").write_text(EXAMPLES[example])

    assert gaia_yaml.read(tmp_path, stage).source == "gaia.yaml"


def test_the_ports_are_those_of_the_table() -> None:
    for stage, offset in STAGE_PORT_OFFSETS.items():
        [row] = [line for line in PAGE.splitlines() if line.startswith(f"| {stage} | base")]
        numbers = [int(cell) for cell in re.findall(r"\| (\d{4}) ", row)]
        assert numbers == [8081 + offset + number - 1 for number in (1, 2, 5)]


@pytest.mark.parametrize("page", [PAGE, START], ids=["environments", "getting-started"])
def test_every_gaia_command_can_be_parsed(page: str) -> None:
    parser = build_parser()
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", page, re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    commands = [line for line in lines if re.match(r"(\./)?gaia [a-z-]", line)]
    assert commands
    for line in commands:
        words = re.split(r"\s+#\s|;", line)[0].replace('"', "").split()[1:]
        assert parser.parse_args(words), line
