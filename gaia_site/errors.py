"""Turning foreseen errors into what each door shows: problem details (RFC 9457) or a message in the console."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler, set_rollback

from common.errors import GaiaError

PROBLEM_TYPE = "application/problem+json"
FOR_PROGRAMS = ("/api/", "/mcp/")
"""Below these, answers are for programs."""


def problem(status: int, *, title: str, detail: str = "", code: str = "", **more: Any) -> dict[str, Any]:
    """The body of an RFC 9457 answer; empty members are left out."""
    body = {
        "type": f"about:blank#{code}" if code else "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
    }
    return {key: value for key, value in {**body, **more}.items() if value not in ("", None, {}, [])}


def of_gaia_error(error: GaiaError) -> dict[str, Any]:
    """A foreseen error as problem details: what happened, what it means, what to do."""
    return problem(
        error.status, title=error.what, detail=error.meaning, code=error.code, fix=error.fix, facts=error.detail
    )


def problem_details(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's exception handler."""
    if isinstance(error, GaiaError):
        set_rollback()
        return _as_problem(Response(of_gaia_error(error), status=error.status), context)
    if isinstance(error, OperationalError | InterfaceError):
        set_rollback()
        body = problem(503, title="The database does not answer", detail=str(error), code="database", fix="Try again.")
        return _as_problem(Response(body, status=503, headers={"Retry-After": "1"}), context)
    if isinstance(error, ValidationError):
        error = exceptions.ValidationError(getattr(error, "message_dict", error.messages))
    response = exception_handler(error, context)
    if response is None:
        return None
    title = HTTPStatus(response.status_code).phrase
    if isinstance(error, exceptions.ValidationError):
        response.data = problem(
            response.status_code, title="The request is not valid", code="invalid_input", errors=response.data
        )
    else:
        detail = error.detail if isinstance(error, exceptions.APIException) else str(error) or title
        response.data = problem(
            response.status_code, title=title, detail=str(detail), code=getattr(error, "default_code", "")
        )
    return _as_problem(response, context)


def _as_problem(response: Response, context: dict[str, Any]) -> Response:
    """Say that it is a problem, except where it becomes a page or YAML: that is about one."""
    renderer = getattr(context.get("request"), "accepted_renderer", None)
    if renderer is None or renderer.media_type == "application/json":
        response.content_type = PROBLEM_TYPE
    return response


class ConsoleErrorMiddleware:
    """A foreseen error in a console page becomes a message on the page one came from, not a traceback."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Only for GaiaError; anything else is a defect and goes Django's way."""
        if not isinstance(error, GaiaError):
            return None
        of_a_script = "application/json" in request.headers.get("Accept", "")  # a page's own tells it where one is
        if of_a_script or request.path.startswith(FOR_PROGRAMS):
            return JsonResponse(of_gaia_error(error), status=error.status, content_type=PROBLEM_TYPE)
        messages.error(request, render_to_string("gaia/error.html", {"error": error}), extra_tags="three-parts")
        back = request.headers.get("Referer", "")
        here = f"{request.scheme}://{request.get_host()}"
        return HttpResponseRedirect(back if back.startswith(here + "/") and back != here + request.path else "/admin/")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404 outside of views: JSON for programs, Django's page for people."""
    if request.path.startswith(FOR_PROGRAMS):
        body = problem(404, title="Not Found", detail=f"There is nothing at {request.path}", fix="See /api/docs/.")
        return JsonResponse(body, status=404, content_type=PROBLEM_TYPE)
    from django.views.defaults import page_not_found

    return page_not_found(request, exception or Http404())


def refused(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403 outside of views, as `not_found`."""
    if request.path.startswith(FOR_PROGRAMS):
        return JsonResponse(problem(403, title="Forbidden"), status=403, content_type=PROBLEM_TYPE)
    from django.views.defaults import permission_denied

    return permission_denied(request, exception or PermissionDenied())


def broken(request: HttpRequest) -> HttpResponse:
    """500, a defect of GAIA's own, as `not_found`."""
    if request.path.startswith(FOR_PROGRAMS):
        body = problem(
            500,
            title="GAIA made a mistake",
            detail="The request may have been carried out in part.",
            fix="The log of the console (gaia/web) says what happened; please report it.",
        )
        return JsonResponse(body, status=500, content_type=PROBLEM_TYPE)
    from django.views.defaults import server_error

    return server_error(request)
