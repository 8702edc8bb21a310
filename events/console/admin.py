"""Lists and details of rows that only actions change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from events.console.parts import live_context

Row = Any  # a model's instance with what the list shows besides


class PreparedList(ChangeList):
    """A changelist that lets its admin fetch, in one go, what the rows of the page show besides their own columns."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        self.model_admin.prepare_rows(self.result_list)


class ConsoleAdmin(ModelAdmin):
    """A list with search, filters, sort and paging, and a detail page, both live and neither ever writing a model.

    live_on: kinds and subjects of events, as prefixes, that make an open page fetch its parts anew.
    live_every: seconds after which a visible page does so all the same, for what has no events; 0 means never.
    detail_template: the detail page; None leaves Django's form.
    numbers: columns that are right-aligned. minor: columns that tablets leave out, extra: that phones do, too.
    empty: what the list is for and the first step, shown while there is nothing.
    noun, nouns: what one row and several are called, where the model's name is not what they are.
    """

    live_on: str = ""
    live_every: float = 0
    detail_template: str | None = None
    numbers: Sequence[str] = ()
    minor: Sequence[str] = ()
    extra: Sequence[str] = ()
    empty: ClassVar[dict[str, str]] = {}
    plural: str = ""
    noun: str = ""
    nouns: str = ""

    actions = None
    list_fullwidth = True
    list_per_page = 100
    show_full_result_count = False
    show_facets = ShowFacets.NEVER

    def prepare_rows(self, rows: list[Row]) -> None:
        """Attach to the rows of one page what their template shows; a fixed number of queries."""

    def detail(self, request: HttpRequest, row: Row) -> dict[str, Any]:
        """What the detail page shows besides the row; callables are evaluated only where a part uses them."""
        return {}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_staff)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PreparedList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {**live_context(request), "title": self.list_title, "list_title": self.list_title}
        response: HttpResponse = super().changelist_view(request, {**context, **(extra_context or {})})
        return response

    @property
    def list_title(self) -> str:
        return self.plural or str(self.model._meta.verbose_name_plural).capitalize()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if self.detail_template is None:
            extra_context = {**live_context(request), "list_title": self.list_title, **(extra_context or {})}
            response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return response
        if request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        live = live_context(request)
        row = self.get_object(request, unquote(object_id))
        if row is None or not self.has_view_permission(request, row):
            gone: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return gone
        return self.page(
            request,
            self.detail_template,
            {"original": row, "row": row, "title": str(row), **self.detail(request, row), **(extra_context or {})},
            live=live,
        )

    def page(
        self, request: HttpRequest, template: str, context: dict[str, Any], *, live: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """One of this admin's own pages, in the console's frame."""
        live = live_context(request) if live is None else live
        request.current_app = self.admin_site.name
        frame = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "is_fullwidth": "1",
            "live_on": self.live_on,
            "live_every": self.live_every,
            "list_title": self.list_title,
            "model_admin": self,
        }
        return TemplateResponse(request, template, {**frame, **live, **context})

    def verb(self, route: str, view: Callable[..., HttpResponse], *, name: str, post_only: bool = True) -> URLPattern:
        """The address of a verb: for signed-in staff, with CSRF, and by POST unless it is a page of its own."""
        guarded = self.admin_site.admin_view(require_POST(view) if post_only else view)
        address: URLPattern = path(route, guarded, name=f"{self.opts.app_label}_{self.opts.model_name}_{name}")
        return address

    def find(self, request: HttpRequest, pk: Any) -> Any:
        """The row of a verb. Raises: Http404."""
        return get_object_or_404(self.get_queryset(request), pk=pk)
