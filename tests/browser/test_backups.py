"""A backup in a real browser: what would change, and the button that changes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from playwright.sync_api import expect

from tests.browser.conftest import Demo, Visit
from tests.browser.looking import look_everywhere


def test_restored_by_its_button(visit: Callable[..., Visit], demo: Demo) -> None:
    file = demo.home / "demo" / "demo-dev2" / "data" / "qa" / "demo.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript("CREATE TABLE invoice (id); CREATE TABLE customer (name);")
        database.executemany("INSERT INTO customer VALUES (?)", [("Ada",), ("Grace",)])
        database.commit()
        demo.gaia("backup", "take", "dev2", "qa")
        database.execute("DELETE FROM customer")
        database.commit()

    page = visit().go("/admin/environments/backup/?of=demo/dev2")
    page.get_by_role("link", name="demo-dev2 qa").first.click()
    row = page.get_by_role("row", name="customer")
    expect(row).to_contain_text("differs")
    assert [cell.strip() for cell in row.get_by_role("cell").all_inner_texts()][1:] == ["0", "2"]
    look_everywhere(page, "backup-preview")

    page.get_by_role("button", name="Restore…").click()
    expect(page.locator("#confirm-text")).to_contain_text("A backup of what is there now is taken first")
    page.get_by_role("button", name="Restore it").click()
    page.wait_for_url("**/operation/*/change/")
    expect(page.get_by_role("region", name="Progress")).to_contain_text("was restored into the database of stage qa")
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM customer").fetchone() == (2,)
