"""The other side hangs, drips, redirects, is not there: GAIA neither waits nor is led astray."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from common.errors import InvalidInput
from common.mail import MailServer, mail_server
from events import log
from events.drivers import mail, reach, webhook
from events.drivers.outcome import NotDelivered
from events.models import Level, Notification
from events.notifications import destinations
from events.notifications.notifier import Notifier
from events.states import NotificationState
from tests.events.receivers import Receiver, dripping, mail_receiver, web_receiver
from tests.waiting import PATIENCE_S, until

ROOT = Path(__file__).resolve().parents[2]


def problem(url: str, *, timeout: float = 5.0) -> NotDelivered:
    with pytest.raises(NotDelivered) as caught:
        webhook.post(url, b"{}", {}, timeout=timeout)
    return caught.value


# -- the webhook's driver


def test_a_post_arrives_as_it_was_sent(receiver: Receiver) -> None:
    assert webhook.post(f"{receiver.url}?a=b", b"\xc3\xa9", {"X-Gaia-Event": "a.b"}) == 200
    [got] = receiver.got
    assert (got.body, got.headers["X-Gaia-Event"]) == (b"\xc3\xa9", "a.b")
    assert got.headers["Host"] == receiver.url.removeprefix("http://").removesuffix("/hook")


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    with web_receiver() as elsewhere:
        receiver.answer = lambda number: (307, "")
        receiver.headers = {"Location": elsewhere.url}
        assert problem(receiver.url).what == "127.0.0.1 answered 307: redirects are not followed"
        assert elsewhere.got == []


@pytest.mark.parametrize(("status", "gone"), [(404, True), (410, True), (400, False), (500, False), (429, False)])
def test_answers_that_are_none(status: int, gone: bool, receiver: Receiver) -> None:
    receiver.answer = lambda number: (status, "why\n\x1b[31m " + "x" * 3000)
    told = problem(receiver.url)
    assert told.gone is gone
    assert told.what.startswith(f"127.0.0.1 answered {status}: why [31m xxx")
    assert len(told.what) < 540


def test_who_repeats_the_path_does_not_give_it_away(receiver: Receiver) -> None:
    path = "/hooks/b%20c/T0xK29aVerySecret?token=abc"
    receiver.answer = lambda number: (
        404, f"Cannot POST {path} (/hooks/b c/T0xK29aVerySecret?token=abc): no T0xK29aVerySecret",
    )  # fmt: skip
    told = problem(receiver.url.removesuffix("/hook") + path).what
    assert told == "127.0.0.1 answered 404: Cannot POST *** (***): no ***"


def test_what_hangs_is_left_after_its_time(receiver: Receiver) -> None:
    receiver.hang = True
    assert problem(receiver.url, timeout=0.3).what == "127.0.0.1 did not answer within 0.3 s"


def test_what_drips_is_left_after_its_time() -> None:
    with dripping() as url:
        assert problem(url, timeout=0.5).what == "127.0.0.1 did not answer within 0.5 s"


def test_what_is_not_there() -> None:
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it meanwhile
        port = closed.getsockname()[1]
        assert (
            problem(f"http://127.0.0.1:{port}/").what == f"127.0.0.1 port {port} cannot be reached: Connection refused"
        )
    assert "is not known" in problem("http://nobody.invalid/").what


def test_a_silent_address_leaves_time_for_the_next(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """As IPv6 that leads nowhere does; what the resolver answers is the one thing that is made up here."""
    port = int(receiver.url.removesuffix("/hook").rpartition(":")[2])
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as silent, ExitStack() as waiting:
        for _ in range(8):  # its queue is full, so the kernel answers nobody any more
            client = waiting.enter_context(closing(socket.socket()))
            client.setblocking(False)
            client.connect_ex(silent.getsockname())
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", where))
                 for where in (silent.getsockname()[1], port)]  # fmt: skip
        monkeypatch.setattr(reach.socket, "getaddrinfo", lambda *_, **__: found)
        assert webhook.post("http://two.example.org/hook", b"{}", {}, timeout=2.0) == 200


def test_what_is_no_web_server() -> None:
    with mail_receiver() as box:
        port = box.url.partition("?")[0].rpartition(":")[2]
        assert "127.0.0.1 cannot be talked to" in problem(f"http://127.0.0.1:{port}/").what
        assert "127.0.0.1 cannot be talked to" in problem(f"https://127.0.0.1:{port}/").what


def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def shake_hands() -> None:
            connection, _ = server.accept()
            with closing(connection), pytest.raises(OSError):
                context.wrap_socket(connection, server_side=True).recv(1)

        thread = threading.Thread(target=shake_hands)
        thread.start()
        told = problem(f"https://127.0.0.1:{server.getsockname()[1]}/").what
        thread.join(PATIENCE_S)
    assert told == "127.0.0.1 has a certificate that cannot be trusted: self-signed certificate"


def test_a_name_that_leads_to_a_forbidden_address_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver answers is the one thing that is made up here."""

    def answer(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]

    monkeypatch.setattr(reach.socket, "getaddrinfo", answer)
    told = problem("http://innocent.example.org/").what
    assert told == "nothing is sent to 169.254.169.254: it hands out credentials of cloud machines"


# -- mail


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.org", MailServer("mail.example.org", 587, "", "", "starttls")),
        ("smtps://me:p%40ss@mail.example.org", MailServer("mail.example.org", 465, "me", "p@ss", "ssl")),
        ("smtp://localhost", MailServer("localhost", 25, "", "", "none")),
        ("smtp://localhost:2525?tls=starttls", MailServer("localhost", 2525, "", "", "starttls")),
    ],
)
def test_addresses_of_mail_servers(url: str, server: MailServer) -> None:
    assert mail_server(url) == server


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://mail.example.org", "not the URL of a mail server"),
        ("smtp://", "not the URL of a mail server"),
        ("smtp://mail.example.org:x", "is not a URL"),
        ("smtp://mail.example.org?tls=maybe", "no tls=maybe"),
        ("smtp://me:hunter2@mail.example.org?tls=none", "in the clear"),
    ],
)
def test_addresses_that_are_none(url: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        mail_server(url)
    assert "hunter2" not in caught.value.what


def hand_in(url: str) -> None:
    mail.send(
        mail_server(url),
        sender="gaia@localhost",
        recipient="ops@example.org",
        subject="s",
        text="t",
        headers={},
        timeout=2,
    )


def test_mail_that_is_not_taken() -> None:
    with mail_receiver() as box:
        for refusal, gone in (("550 no such mailbox", True), ("451 later", False)):
            box.refuse = refusal
            with pytest.raises(NotDelivered, match=refusal) as caught:
                hand_in(box.url)
            assert caught.value.gone is gone
        with pytest.raises(NotDelivered, match="took no mail: STARTTLS"):
            hand_in(box.url.replace("none", "starttls"))
    with pytest.raises(NotDelivered, match="took no mail"):
        hand_in(box.url)


# -- together, in the threads of the daemon


@pytest.mark.django_db(transaction=True)
def test_one_that_hangs_delays_neither_the_others_nor_the_daemon(acting: str, receiver: Receiver) -> None:
    with web_receiver() as stuck:
        stuck.hang = True
        ops = destinations.add("ops", receiver.url)
        destinations.add("stuck", stuck.url)
        notifier = Notifier()
        for number in range(3):
            with log.atomic():
                log.emit("stage.failed", subject="x/y", message=f"event {number}", level=Level.ERROR)
            notifier.turn()  # returns, while one is being waited for
            until(lambda wanted=number + 1: len(receiver.got) == wanted)
        until(lambda: len(stuck.got) == 1)
        assert [got.messages for got in receiver.got] == [["event 0"], ["event 1"], ["event 2"]]
        stuck.go_on.set()
        notifier.wait()
        assert not ops.notifications.exclude(state=NotificationState.DELIVERED).exists()
        assert [got.messages for got in stuck.got] == [["event 0"], ["event 1"], ["event 2"]], (
            "in order, when it is back"
        )


@pytest.mark.django_db(transaction=True)
def test_the_daemons_loop_delivers(acting: str, receiver: Receiver) -> None:
    from gaia_site.node import loops
    from processes.actions.nodes import ensure_node

    destinations.add("ops", receiver.url)
    with log.atomic():
        log.emit("stage.failed", subject="x/y", message="heard", level=Level.ERROR)
    [notifications] = [loop for loop in loops(ensure_node()) if loop.name == "notifications"]
    notifications.work()
    until(lambda: Notification.objects.filter(state=NotificationState.DELIVERED).count() == 1)
    assert receiver.got[0].messages == ["heard"]
    assert settings.GAIA.url in receiver.got[0].data["events"][0]["link"]


@pytest.mark.django_db(transaction=True)
def test_killed_in_the_middle_of_a_try_nothing_is_lost(acting: str, receiver: Receiver) -> None:
    """`kill -9` of the process that sends, while the receiver has it and has not answered."""
    ops = destinations.add("ops", receiver.url)
    with log.atomic():
        log.emit("stage.failed", subject="x/y", message="event", level=Level.ERROR)
    receiver.hang = True
    script = "from events.actor import acting_as\nfrom events.notifications.notifier import Notifier\n"
    script += "with acting_as('node:other'):\n    notifier = Notifier(); notifier.turn(); notifier.wait()\n"
    sender = subprocess.Popen([sys.executable, ROOT / "manage.py", "shell", "-c", script], env={**os.environ})
    try:
        until(lambda: len(receiver.got) == 1)
        row = ops.notifications.get()
        assert (row.state, row.attempts) == (NotificationState.WAITING, 1), "counted before the try"
    finally:
        sender.kill()
        sender.wait()
    receiver.hang = False
    receiver.go_on.set()
    Notification.objects.update(next_try_at=timezone.now())  # a minute later
    notifier = Notifier()
    notifier.turn()
    notifier.wait()
    assert [got.messages for got in receiver.got] == [["event"], ["event"]]
    assert receiver.got[0].headers["X-Gaia-Delivery"] == receiver.got[1].headers["X-Gaia-Delivery"]
    assert ops.notifications.get().state == NotificationState.DELIVERED
