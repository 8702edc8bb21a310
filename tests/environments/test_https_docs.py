"""What docs/https.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from environments.drivers import gaia_yaml
from gaia_site.cli.arguments import build_parser
from tests.environments.places import ROOT, Place
from tests.environments.stages import script
from tests.environments.tls import curl, trusting

PAGE = (ROOT / "docs/https.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^gaia [^#\n]*", "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)), re.MULTILINE)


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_of_gaia_yaml_can_be_read(tmp_path: Path, example: str) -> None:
    (tmp_path / "gaia.yaml").write_text(example)
    assert "${TLS_CERT:+" in gaia_yaml.read(tmp_path).command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_parsed(command: str) -> None:
    assert build_parser().parse_args(command.split()[1:])


@pytest.mark.parametrize("name", ["USE_HTTPS", "TLS_CERT", "TLS_KEY"])
def test_a_project_does_not_set_what_gaia_sets(tmp_path: Path, name: str) -> None:
    (tmp_path / "gaia.yaml").write_text(f"command: x\nenv: {{{name}: x}}\n")
    with pytest.raises(Exception, match=f"{name} is set by GAIA"):
        gaia_yaml.read(tmp_path)


def test_the_five_lines_of_python_serve_it(place: Place) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    place.ready(1)
    (place.path(1) / "app.py").write_text(program)
    (place.path(1) / "health").write_text("well\n")
    place.gaia("https", "on", "dev1", "dev")
    stage = place.stage(1, "dev")

    assert script(stage, "launch.sh").returncode == 0
    assert trusting(stage) == (0, "well\n")
    script(stage, "stop.sh")
    place.gaia("https", "off", "dev1")
    assert script(stage, "launch.sh").returncode == 0
    assert curl(f"http://localhost:{stage.port}/health") == (0, "well\n")
