"""The console's template tags: states, times, ids, live parts, the columns and filters of lists."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.contrib.admin.templatetags.admin_list import result_headers
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.http.request import split_domain_port
from django.template.base import FilterExpression, NodeList, Parser, Token, token_kwargs
from django.template.context import Context
from django.template.loader import select_template
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

from common.looks import look_of

register = template.Library()

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@register.simple_tag
def state(name: str, word: str = "", title: str = "") -> SafeString:
    """A state: icon, word and colour."""
    shown = look_of(name)
    return format_html(
        '<span class="state look-{}"{}>{}{}</span>',
        shown.look.value,
        _title(title),
        _ICON,
        word or shown.word,
    )


@register.simple_tag
def glyph(name: str, title: str = "", shape: str = "") -> SafeString:
    """A state as its icon alone, with the word for those who hover or listen.

    shape: another look whose icon is drawn in this state's colour, or `shell`.
    """
    shown = look_of(name)
    return format_html(
        '<span class="glyph-only look-{}{}" title="{}">{}<span class="sr-only">{}</span></span>',
        shown.look.value,
        f" shape-{shape}" if shape else "",
        title or shown.word,
        _ICON,
        title or shown.word,
    )


@register.simple_tag
def sign(name: str, shape: str = "") -> SafeString:
    """A state's icon beside words that already say it."""
    classes = f"look-{look_of(name).look.value}" + (f" shape-{shape}" if shape else "")
    return format_html('<span class="glyph-only {}">{}</span>', classes, _ICON)


@register.simple_tag
def icon(name: str) -> SafeString:
    """An icon of the icon font, which says nothing by itself."""
    return format_html('<span class="material-symbols-outlined" aria-hidden="true">{}</span>', name)


@register.simple_tag
def ago(moment: datetime | str | None, empty: str = "—") -> SafeString:
    """How long ago, kept up to date by the page; the exact time on hover."""
    when = parse_datetime(moment) if isinstance(moment, str) else moment
    if when is None:
        return format_html('<span class="quiet">{}</span>', empty)
    exact = timezone.localtime(when).strftime("%Y-%m-%d %H:%M:%S %Z")
    text = relative((timezone.now() - when).total_seconds())
    return format_html('<time datetime="{}" title="{}" data-ago>{}</time>', when.isoformat(), exact, text)


def relative(seconds: float) -> str:
    """`12 s ago`; the page's script says it in the same words."""
    if abs(seconds) < 2:
        return "now"
    span = _span(abs(seconds))
    return f"in {span}" if seconds < 0 else f"{span} ago"


def _span(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"


@register.simple_tag
def lasted(begin: datetime | None, end: datetime | None = None) -> str:
    """How long something took, or takes so far: `1 min 12 s`."""
    if begin is None:
        return "—"
    return spoken((end or timezone.now()) - begin)


@register.filter
def spoken(span: timedelta | float | None) -> str:
    """A duration in its two largest units."""
    if span is None:
        return "—"
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    words, rest = [], int(seconds)
    for size, unit in _UNITS:
        if rest >= size:
            words.append(f"{rest // size} {unit}")
            rest %= size
    return " ".join(words[:2])


@register.simple_tag
def ident(text: Any, title: str = "Copy") -> SafeString:
    """An id, path or name in a monospace face that is copied with a click."""
    if text in (None, ""):
        return mark_safe('<span class="quiet">—</span>')
    return format_html('<button type="button" class="ident" data-copy title="{}">{}</button>', title, text)


@register.filter
def pretty_json(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def percent(fraction: float) -> int:
    return round(fraction * 100)


@register.simple_tag(takes_context=True)
def stage_address(context: Context, url: str) -> str:
    """Where a page of the console links a stage: at its address, or under this machine's other name.

    Browsers send a host's cookies to all of its ports (RFC 6265, 8.5): under the console's own name, the program that
    runs on the stage would be sent the session of whoever follows the link.

    url: the stage's, which is at localhost.
    """
    host, _ = split_domain_port(context["request"].get_host())
    return url.replace("://localhost:", "://127.0.0.1:", 1) if host == "localhost" else url


@register.simple_tag(takes_context=True)
def rows_template(context: Context, changelist: ChangeList) -> Any:
    """The template that renders a list's rows: the model's own, else one for any."""
    options = changelist.opts
    return select_template([f"gaia/rows/{options.app_label}_{options.model_name}.html", "gaia/rows/any.html"])


@register.simple_tag
def columns(changelist: ChangeList) -> list[dict[str, Any]]:
    """The headers of a list with their sorting links and classes."""
    admin = changelist.model_admin
    kinds = (("num", "numbers"), ("minor", "minor"), ("extra", "extra"))
    named = [(word, getattr(admin, attribute, ())) for word, attribute in kinds]
    shown = []
    for name, header in zip(changelist.list_display, result_headers(changelist), strict=True):
        classes = [word for word, names in named if name in names]
        own = hasattr(admin, str(name))  # a column of the list's own says how it wants to be written
        title = str(header["text"]) if own else capfirst(str(header["text"]))
        shown.append({**header, "title": title, "classes": " ".join(classes), "sorted": header.get("sorted", False)})
    return shown


@register.simple_tag
def filter_menus(changelist: ChangeList) -> list[dict[str, Any]]:
    """The filters of a list: title, what is chosen, whether that is the default, and the choices as links."""
    menus = []
    for spec in changelist.filter_specs:
        choices = list(spec.choices(changelist))
        chosen = next((choice for choice in choices if choice["selected"]), None)
        menus.append(
            {
                "title": spec.title,
                "name": "-".join(str(name) for name in spec.expected_parameters()) or spec.title,
                "choices": choices,
                "chosen": _shown(chosen["display"]) if chosen else "…",
                "active": chosen is None or chosen is not choices[0],
            }
        )
    return menus


def _shown(title: Any) -> str:
    return "all" if str(title) == "All" else str(title)


@register.simple_tag
def pages(changelist: ChangeList) -> list[dict[str, Any]]:
    """Links to the pages of a list; gaps have no number."""
    paginator = changelist.paginator
    numbers: Iterable[Any] = paginator.get_elided_page_range(changelist.page_num, on_each_side=2, on_ends=1)
    return [
        {
            "number": number if isinstance(number, int) else None,
            "url": changelist.get_query_string({PAGE_VAR: number}) if isinstance(number, int) else "",
            "current": number == changelist.page_num,
        }
        for number in numbers
    ]


@register.tag
def part(parser: Parser, token: Token) -> PartNode:
    """`{% part "fleet" on="session." every=1 tag="section" class="panel" %} … {% endpart %}`: a live part.

    on: prefixes of kinds and subjects of the events after which it is fetched anew; `*` is any.
    every: seconds after which it is fetched all the same while the page is visible.
    src: the address it is fetched from, when not the page's own.
    """
    bits = token.split_contents()[1:]
    name = parser.compile_filter(bits.pop(0))
    options = token_kwargs(bits, parser)
    if bits:
        raise template.TemplateSyntaxError(f"part does not know {bits[0]}")
    body = parser.parse(("endpart",))
    parser.delete_first_token()
    return PartNode(name, options, body)


class PartNode(template.Node):
    """Renders its body, unless the request asks for other parts only."""

    child_nodelists = ("body",)

    def __init__(self, name: FilterExpression, options: dict[str, FilterExpression], body: NodeList) -> None:
        self.name, self.options, self.body = name, options, body

    def render(self, context: Context) -> SafeString:
        name = str(self.name.resolve(context))
        wanted = context.get("wanted_parts")
        if wanted is not None and name not in wanted:
            return SafeString("")
        options = {key: value.resolve(context) for key, value in self.options.items()}
        tag = str(options.pop("tag", "div"))
        told = {f"data-{key}": options.pop(key) for key in ("on", "every", "src") if options.get(key)}
        attributes = {
            "id": f"part-{name}",
            "data-part": name,
            **told,
            **{k.replace("_", "-"): v for k, v in options.items() if v},
        }
        pairs = format_html_join("", ' {}="{}"', attributes.items())
        # template text, escaped where it had to be; without its edges an empty part is empty for the style, too
        body = SafeString(self.body.render(context).strip())
        return format_html("<{}{}>{}</{}>", SafeString(tag), pairs, body, SafeString(tag))


def _title(title: str) -> SafeString:
    return format_html(' title="{}"', title) if title else SafeString("")


_ICON = mark_safe('<span class="glyph" aria-hidden="true"></span>')


@register.filter
def value_of(mapping: dict[str, Any], key: str) -> Any:
    """A value by a key that is itself a variable."""
    return mapping.get(key)


@register.simple_tag
def any_url(changelist: ChangeList, row: Any) -> str:
    """The address of a row's detail page."""
    return str(changelist.url_for_result(row))


@register.simple_tag
def told(value: Any) -> SafeString:
    """Nested data as a nested list for people; texts are copied with a click."""
    if isinstance(value, dict):
        pairs = [
            (str(key).replace("_", " "), told(inner)) for key, inner in value.items() if inner not in (None, "", [], {})
        ]
        if not pairs:
            return _NOTHING
        return format_html('<dl class="facts">{}</dl>', format_html_join("", "<dt>{}</dt><dd>{}</dd>", pairs))
    if isinstance(value, list | tuple):
        if all(not isinstance(inner, dict | list | tuple) for inner in value):
            return format_html("{}", ", ".join(str(inner) for inner in value)) if value else _NOTHING
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", ((told(inner),) for inner in value)))
    if isinstance(value, bool):
        return format_html("{}", "yes" if value else "no")
    return ident(value)


_NOTHING = mark_safe('<span class="quiet">nothing</span>')
