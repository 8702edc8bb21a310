"""The lines of a difference as HTML, without a template for each: a page may have twenty thousand."""

from __future__ import annotations

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString

from environments.diff_page import changed_spans
from environments.drivers.history import Hunk, Line

register = template.Library()

_SIGNS = {"context": " ", "added": "+", "removed": "−"}


@register.simple_tag
def diff_lines(hunk: Hunk) -> SafeString:
    """A hunk: where it is, and its lines with both numbers, the sign and the text."""
    spans = changed_spans(hunk.lines)
    parts = [f'<div class="d-hunk">{_place(hunk)}</div>']
    parts += [_row(line, spans.get(index)) for index, line in enumerate(hunk.lines)]
    return SafeString("".join(parts))


def _place(hunk: Hunk) -> str:
    first = next((line.new or line.old for line in hunk.lines), None)
    context = f' <span class="d-in">{escape(hunk.context)}</span>' if hunk.context else ""
    return f"Line {first}{context}" if first else f"…{context}"


def _row(line: Line, span: tuple[int, int] | None) -> str:
    text = line.text
    if span:
        begin, end = span
        shown = f'{escape(text[:begin])}<span class="d-x">{escape(text[begin:end])}</span>{escape(text[end:])}'
    else:
        shown = str(escape(text))
    old, new = line.old or "", line.new or ""
    return (
        f'<div class="d-l d-{line.kind}"><span class="d-n d-old">{old}</span><span class="d-n">{new}</span>'
        f'<span class="d-s">{_SIGNS[line.kind]}</span><span class="d-t">{shown}</span></div>'
    )
