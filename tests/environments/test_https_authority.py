"""The local authority and its certificates, asked about by OpenSSL, with the time told to them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from environments.drivers.authority import ensure_authority, ensure_certificate, facts_of, names_of

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Made:
    """An authority and a certificate of it."""

    def __init__(self, root: Path) -> None:
        self.ca, self.place = root / "ca", root / "tls"
        self.now = NOW

    def ensure(self, environment: str = "shop-dev1") -> list[str]:
        return ensure_certificate(self.ca, self.place, environment, now=self.now)

    def verify(self, *options: str, authority: Path | None = None, certificate: Path | None = None) -> str:
        """What OpenSSL says of a certificate at that time."""
        at = str(int(self.now.timestamp()))
        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", at, *options,
             "-CAfile", authority or self.ca / "ca.pem", certificate or self.place / "cert.pem"],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        return "OK" if done.returncode == 0 else done.stderr


@pytest.fixture
def made(tmp_path: Path) -> Made:
    one = Made(tmp_path)
    assert sorted(one.ensure()) == ["ca.pem", "cert.pem", "key.pem"]
    return one


@pytest.mark.parametrize(
    "asked",
    [
        ("-verify_hostname", "localhost"),
        ("-verify_ip", "127.0.0.1"),
        ("-verify_ip", "::1"),
        ("-verify_hostname", "shop-dev1.localhost"),
        ("-verify_hostname", "qa.shop-dev1.localhost"),
    ],
    ids=" ".join,
)
def test_openssl_believes_it_on_this_machine(made: Made, asked: tuple[str, str]) -> None:
    assert made.verify(*asked) == "OK"
    assert made.verify(*asked, authority=made.place / "ca.pem") == "OK"


@pytest.mark.parametrize("asked", [("-verify_hostname", "example.org"), ("-verify_ip", "10.0.0.1")], ids=" ".join)
def test_and_nowhere_else(made: Made, asked: tuple[str, str]) -> None:
    assert "mismatch" in made.verify(*asked)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("DNS:example.org", "-verify_hostname"), ("DNS:notlocalhost", "-verify_hostname"), ("IP:10.0.0.1", "-verify_ip")],
)
def test_a_thief_of_its_key_can_speak_for_nobody_else(tmp_path: Path, name: str, kind: str) -> None:
    """Signed with the authority's own key, by OpenSSL: its constraints make it worthless."""
    made = Made(tmp_path)
    made.now = datetime.now(UTC)  # the time that OpenSSL writes into what it signs
    made.ensure()
    (tmp_path / "extensions").write_text(f"subjectAltName={name}\nextendedKeyUsage=serverAuth\n")
    steps = [
        ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "evil.key",
         "-subj", "/CN=evil", "-out", "evil.csr"],
        ["x509", "-req", "-in", "evil.csr", "-CA", made.ca / "ca.pem", "-CAkey", made.ca / "key.pem",
         "-CAcreateserial", "-days", "9999", "-extfile", "extensions", "-out", "evil.pem"],
    ]  # fmt: skip
    for step in steps:
        subprocess.run(["openssl", *step], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    done = subprocess.run(
        ["openssl", "verify", kind, name.split(":", 1)[1], "-CAfile", made.ca / "ca.pem", "evil.pem"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode != 0
    assert "permitted subtree violation" in done.stderr


def test_keys_are_for_nobody_elses_eyes(made: Made) -> None:
    modes = {file.name: file.stat().st_mode & 0o777 for file in (made.ca / "key.pem", made.place / "cert.pem")}
    assert modes == {"key.pem": 0o600, "cert.pem": 0o644}
    assert (made.place / "key.pem").stat().st_mode & 0o777 == 0o600
    assert made.ca.stat().st_mode & 0o777 == 0o700
    for key in (made.ca / "key.pem", made.place / "key.pem"):
        key.chmod(0o644)
    assert made.ensure() == ["key.pem"]
    assert {key.stat().st_mode & 0o777 for key in (made.ca / "key.pem", made.place / "key.pem")} == {0o600}


def test_what_it_is_for_how_long(made: Made) -> None:
    authority, certificate = facts_of(made.ca / "ca.pem"), facts_of(made.place / "cert.pem")
    assert authority is not None
    assert certificate is not None
    assert authority.until == NOW + 3650 * DAY
    assert authority.names == ("localhost", "127.0.0.1/32", "::1/128")
    assert certificate.until == NOW + 365 * DAY
    assert set(certificate.names) == {*names_of("shop-dev1"), "127.0.0.1", "::1"}
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", made.ca / "ca.pem"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert shown.stdout.strip().endswith(f"={authority.fingerprint}")


def test_it_is_renewed_thirty_days_before_its_end(made: Made) -> None:
    key, first = (made.place / "key.pem").read_bytes(), facts_of(made.place / "cert.pem")
    made.now = NOW + 335 * DAY
    assert made.ensure() == []
    made.now += timedelta(seconds=1)

    assert made.ensure() == ["cert.pem"]

    second = facts_of(made.place / "cert.pem")
    assert first is not None
    assert second is not None
    assert second.until == made.now + 365 * DAY
    assert second.serial != first.serial
    assert (made.place / "key.pem").read_bytes() == key, "whoever reads both while it is renewed finds a pair"
    assert made.verify() == "OK"
    assert made.ensure() == []


def test_a_certificate_never_outlives_its_authority(made: Made) -> None:
    made.now = NOW + 3500 * DAY
    made.ensure()
    certificate = facts_of(made.place / "cert.pem")
    assert certificate is not None
    assert certificate.until == NOW + 3650 * DAY
    assert made.verify() == "OK"


def test_an_authority_at_its_end_gives_way_to_another_one(made: Made) -> None:
    first = facts_of(made.ca / "ca.pem")
    made.now = NOW + 3640 * DAY
    assert sorted(made.ensure()) == ["ca.pem", "cert.pem"]
    second = facts_of(made.ca / "ca.pem")
    assert first is not None
    assert second is not None
    assert second.subject != first.subject
    assert made.verify() == "OK"


def _remove(file: Path) -> None:
    file.unlink()


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _spoil(file: Path) -> None:
    file.write_text("-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n")


def _replace_with_another(file: Path) -> None:
    other = Made(file.parent.parent / "other")
    other.place.parent.mkdir()
    other.ensure()
    file.write_bytes((other.ca / file.name if file.parent.name == "ca" else other.place / file.name).read_bytes())


@pytest.mark.parametrize("name", ["tls/cert.pem", "tls/key.pem", "tls/ca.pem", "ca/ca.pem", "ca/key.pem"])
@pytest.mark.parametrize("harm", [_remove, _empty, _spoil, _replace_with_another], ids=lambda harm: harm.__name__)
def test_what_is_broken_is_made_again(made: Made, tmp_path: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(tmp_path / name)

    assert made.ensure() != []

    assert made.verify() == "OK"
    assert made.verify(authority=made.place / "ca.pem") == "OK"
    keys = [
        subprocess.run(["openssl", *words], capture_output=True, check=True, timeout=30).stdout
        for words in (
            ("pkey", "-pubout", "-in", str(made.place / "key.pem")),
            ("x509", "-pubkey", "-noout", "-in", str(made.place / "cert.pem")),
        )
    ]
    assert keys[0] == keys[1]
    assert made.ensure() == []


def test_many_at_once_make_one_authority(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: ensure_authority(tmp_path / "ca", now=NOW), range(16)))
    assert [made for _, made in done].count(True) == 1
    assert len({authority.certificate.serial_number for authority, _ in done}) == 1


def test_many_at_once_make_one_certificate(made: Made) -> None:
    (made.place / "key.pem").unlink()
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: made.ensure(), range(16)))
    assert sorted(filter(None, done)) == [["key.pem", "cert.pem"]]
    assert made.ensure() == []


@pytest.mark.parametrize("environment", ["shop-dev1", "Shop_2-dev1", "-x", "a" * 80, "é-dev1"])
def test_whatever_an_environment_is_called(tmp_path: Path, environment: str) -> None:
    made = Made(tmp_path)
    made.ensure(environment)
    assert made.verify("-verify_hostname", "localhost") == "OK"
    assert made.ensure(environment) == []
