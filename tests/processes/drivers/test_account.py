"""Other accounts, as root with the real `nobody`, and as an account that is not root."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import InvalidInput, Unavailable
from processes.drivers.account import account
from processes.drivers.spawn import SpawnFailed
from tests.live import ROOT
from tests.processes.drivers.conftest import Place

OWN = pwd.getpwuid(os.geteuid()).pw_name
ROOT_HERE = os.geteuid() == 0


def test_ourselves() -> None:
    own = account(OWN)
    assert (own.prefix, own.uid) == ((), os.geteuid())
    assert own.env["HOME"] == pwd.getpwuid(os.geteuid()).pw_dir


@pytest.mark.parametrize("name", ["no-such-account", "", "a\0b", "../root"])
def test_nobody_of_that_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="no account"):
        account(name)


def test_who_is_not_root_is_told() -> None:
    """In a process of its own, which gives up being root."""
    drop = f"import os; os.setuid({pwd.getpwnam('nobody').pw_uid}); " if ROOT_HERE else ""
    ask = (
        f"{drop}import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from processes.drivers.account import account\n"
        "try: account('daemon')\n"
        "except Exception as error: print(type(error).__name__, error.what, error.fix)"
    )
    preload = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import processes.drivers.account\n"
    done = subprocess.run([sys.executable, "-c", preload + ask], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("Refused GAIA runs as "), done.stderr
    assert "Run GAIA as root, or as daemon" in done.stdout


if ROOT_HERE:

    def test_command_runs_as_it_and_the_shim_notes_the_end(place: Place, reaped: Callable[[int], int]) -> None:
        """User, groups, and its own log, which it may open anew."""
        spec, spawned = place.sh(
            "id -u; id -g; id -G; echo again >>/dev/stderr; kill -0 $PPID 2>/dev/null || echo not the shim; exit 5",
            user="nobody",
        )
        assert reaped(spawned.pid) == 5
        nobody = pwd.getpwnam("nobody")
        groups = " ".join(map(str, os.getgrouplist("nobody", nobody.pw_gid)))
        assert place.log.read_text().splitlines() == [
            str(nobody.pw_uid), str(nobody.pw_gid), groups, "again", "not the shim",
        ]  # fmt: skip
        assert place.code(spec.token) == 5
        assert place.log.stat().st_uid == nobody.pw_uid

    @pytest.mark.parametrize("command", ["no-such-program", "/etc/hostname"])
    def test_command_that_cannot_run(place: Place, reaped: Callable[[int], int], command: str) -> None:
        """Debian 12's setpriv says 127 of both, later ones 126 of what is there and no program."""
        assert reaped(place.start(place.spec(command, user="nobody")).pid) in (126, 127)
        assert command in place.log.read_text()

    def test_a_log_that_is_a_link_is_not_given_away(place: Place) -> None:
        (place.root / "theirs").touch()
        place.log.symlink_to(place.root / "theirs")
        with pytest.raises(SpawnFailed, match="is a link"):
            place.start(place.spec("true", user="nobody"))
        assert (place.root / "theirs").stat().st_uid == 0

    def test_without_setpriv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "busybox").touch(mode=0o755)
        (tmp_path / "setpriv").symlink_to(tmp_path / "busybox")
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(Unavailable) as caught:
            account("nobody")
        assert "util-linux" in caught.value.fix
