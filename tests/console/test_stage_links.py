"""A stage is linked under a name whose cookies are others than the console's: browsers do not separate them by port."""

from __future__ import annotations

import re
from http.cookiejar import CookieJar
from urllib.request import Request
from urllib.response import addinfourl

import pytest
from django.conf import settings
from django.test import Client

from environments.models import Stage
from tests.conftest import Operator
from tests.console import rows

pytestmark = pytest.mark.django_db

CONSOLES = ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080", "127.0.0.1", "localhost"]


def pages() -> list[str]:
    environment = rows.environments(1)[0]
    return ["/admin/", "/admin/environments/environment/", f"/admin/environments/environment/{environment.pk}/change/"]


def stage_links(page: str) -> list[str]:
    return re.findall(rf'href="(http://[^"]*:{Stage.objects.get(name="dev").port}[^"]*)"', page)


@pytest.mark.parametrize("console_at", CONSOLES)
def test_what_a_browser_has_for_the_console_it_does_not_send_to_a_stage(operator: Operator, console_at: str) -> None:
    client = Client(headers={"host": console_at})
    client.force_login(operator.user)
    for path in pages():
        answer = client.get(path)
        assert answer.status_code == 200
        links = stage_links(answer.content.decode())
        assert links, f"{path} links the stage that runs"
        browser = browser_with(operator.sign_in(), f"http://{console_at.lower()}/admin/")
        assert cookies_sent(browser, f"http://{console_at.lower()}{path}"), "to the console it does"
        assert [cookies_sent(browser, link) for link in links] == [None] * len(links)


@pytest.mark.parametrize(
    ("console_at", "host"), [("127.0.0.1:8080", "localhost"), ("localhost:8080", "127.0.0.1"), ("[::1]", "localhost")]
)
def test_the_other_name_of_this_machine(operator: Operator, console_at: str, host: str) -> None:
    client = Client(headers={"host": console_at})
    client.force_login(operator.user)
    for path in pages():
        assert set(stage_links(client.get(path).content.decode())) == {f"http://{host}:8081"}


@pytest.mark.parametrize(("console_at", "host"), [("127.0.0.1:8080", "localhost"), ("localhost:8080", "127.0.0.1")])
def test_over_https_where_it_serves_that(operator: Operator, console_at: str, host: str) -> None:
    client = Client(headers={"host": console_at})
    client.force_login(operator.user)
    paths = pages()
    Stage.objects.update(https=True)
    for path in paths:
        page = client.get(path).content.decode()
        assert f'href="https://{host}:8081"' in page
        assert 'href="http://' not in page


def test_cookies_are_of_the_very_host() -> None:
    """With a Domain they would be sent to other hosts as well; with another SameSite, from pages that are not ours."""
    assert settings.SESSION_COOKIE_DOMAIN is None
    assert settings.CSRF_COOKIE_DOMAIN is None
    assert settings.SESSION_COOKIE_SAMESITE == settings.CSRF_COOKIE_SAMESITE == "Lax"
    assert settings.SESSION_COOKIE_HTTPONLY
    assert {"127.0.0.1", "localhost", "[::1]"} <= set(settings.ALLOWED_HOSTS)


def browser_with(cookie: str, page: str) -> CookieJar:
    """The standard library's idea of a browser that was given a cookie, without a Domain, by a page."""
    from email.message import Message

    answer = Message()
    answer["Set-Cookie"] = f"{cookie}; Path=/; HttpOnly; SameSite=Lax"
    jar = CookieJar()
    jar.extract_cookies(addinfourl(None, answer, page), Request(page))  # noqa: S310  never opened
    return jar


def cookies_sent(browser: CookieJar, address: str) -> str | None:
    request = Request(address)  # noqa: S310  never opened
    browser.add_cookie_header(request)
    return request.get_header("Cookie")
