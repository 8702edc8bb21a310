"""Reading a pane and writing into it, on whichever tmux server it is."""

from __future__ import annotations

import time

from common.errors import GaiaError
from sessions.drivers.tmux_capture import Page, page_line, read_page, read_pages, whose
from sessions.drivers.tmux_client import TmuxClient, failed
from sessions.drivers.tmux_keys import (
    check_answer,
    check_gaia_id,
    check_pane,
    clean_text,
    guarded,
    key_commands,
    missing_pane,
    not_submitted,
    text_commands,
)

TIMEOUT = 10.0


class TmuxPanes:
    """The panes of the server that a client speaks to."""

    def __init__(self, client: TmuxClient) -> None:
        self._client = client

    @property
    def client(self) -> TmuxClient:
        """How tmux is called for this server."""
        return self._client

    def capture(self, pane_id: str, *, lines: int = 0, ansi: bool = False, gaia_id: str = "", process: str = "") -> str:
        """What a pane shows.

        Args:
            pane_id: such as `%3`.
            lines: how many lines of scrollback to put before the visible screen.
            ansi: keep colours and attributes as escape sequences.
            gaia_id: the mark the pane must have.
            process: server and process it must be of, as `tmux_facts.PROCESS` gives them, for a pane without mark.

        Returns: lines, separated by newlines, without trailing blanks.
        Raises: PaneMissing, NoServer, TmuxHung, TmuxError.
        """
        check_pane(pane_id)

        def read(start: str, end: str) -> str:
            page = self._on_pane(pane_id, page_line(pane_id, start, end, ansi))
            mark, found = whose(page)
            if (gaia_id and mark != gaia_id) or (process and found != process):
                raise missing_pane(pane_id)
            return page

        return read_pages(read, lines, ansi)

    def capture_page(
        self, pane_id: str, *, lines: int, height: int, before: int | None = None, ansi: bool = False, process: str = ""
    ) -> Page:
        """A page of what a pane shows and has shown.

        Args:
            pane_id: such as `%3`.
            lines: how many, at most `tmux_capture.PAGE`.
            height: of the pane, in lines.
            before: the page ends before this line, counted from the oldest that tmux has; None for the newest.
            ansi, process: as for `capture`.

        Raises: Conflict when the pane writes too fast; PaneMissing, NoServer, TmuxHung, TmuxError.
        """
        check_pane(pane_id)

        def read(start: str, end: str) -> str:
            page = self._on_pane(pane_id, page_line(pane_id, start, end, ansi))
            if process and whose(page)[1] != process:
                raise missing_pane(pane_id)
            return page

        return read_page(read, lines, height, before)

    def send_keys(
        self,
        pane_id: str,
        text: str,
        *,
        enter: bool = False,
        enter_delay: float = 0.0,
        gaia_id: str = "",
        process: str = "",
    ) -> None:
        """Write text into a pane.

        Text of several lines, or long text, is pasted, in brackets where the program asked for them. Escape sequences
        and control characters are taken out.

        Args:
            pane_id: such as `%3`.
            text: what to write.
            enter: press Enter afterwards; trailing newlines are then left out.
            enter_delay: seconds between text and Enter; agents take an Enter at once for part of a paste.
            gaia_id: the mark the pane must have.
            process: as for `capture`.

        Raises: InvalidInput and those of `NOTHING_WRITTEN`, for what they say; NotSubmitted when the text was written
            and only the Enter failed; TmuxHung, TmuxError: it is not known then what reached the pane.
        """
        check_pane(pane_id)
        cleaned = clean_text(text)
        commands = text_commands(pane_id, cleaned.rstrip("\n") if enter else cleaned)
        press = key_commands(pane_id, "Enter") if enter else []
        if not press or enter_delay <= 0 or not commands:
            self._write(pane_id, [*commands, *press], gaia_id, process)
            return
        self._write(pane_id, commands, gaia_id, process)
        time.sleep(enter_delay)
        try:
            self._write(pane_id, press, gaia_id, process)
        except GaiaError as error:
            raise not_submitted(pane_id, error) from error

    def send_key(self, pane_id: str, key: str, *, gaia_id: str = "", process: str = "") -> None:
        """Press one key, such as `Enter`, `Escape`, `C-c`, `Up`, in a pane.

        Args:
            gaia_id, process: as for `send_keys`.

        Raises: as `send_keys`; InvalidInput for a key that is not on the list.
        """
        check_pane(pane_id)
        self._write(pane_id, key_commands(pane_id, key), gaia_id, process)

    def _write(self, pane_id: str, commands: list[str], gaia_id: str, process: str) -> None:
        if commands:
            line = guarded(pane_id, commands, check_gaia_id(gaia_id), process)
            check_answer(self._on_pane(pane_id, line).strip(), pane_id)

    def _on_pane(self, pane_id: str, text: str) -> str:
        completed = self._client.script([text], timeout=TIMEOUT)
        if completed.ok:
            return completed.stdout
        if "can't find" in completed.stderr:
            raise missing_pane(pane_id)
        raise failed(completed)
