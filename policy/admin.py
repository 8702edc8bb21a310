"""People who sign in, and the tokens of programs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from unfold.decorators import display
from unfold.forms import UserChangeForm, UserCreationForm

from common.errors import GaiaError
from events.console.admin import ConsoleAdmin
from events.console.verbs import done
from policy.actions import issue_token, revoke_token, save_account
from policy.forms import PasswordForm, TokenForm
from policy.models import Token, User


@admin.register(User)
class UserAdmin(BaseUserAdmin, ConsoleAdmin):  # type: ignore[misc, type-arg]  # not generic at run time; two `actions`
    """People. Accounts are switched off, not deleted: the log names them."""

    plural = "People"
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = PasswordForm
    list_display = ("state", "username", "full_name", "email", "is_superuser", "last_login", "date_joined")
    minor = ("full_name", "email", "date_joined")
    numbers = ("last_login", "date_joined")
    list_filter = ("is_active", "is_superuser")
    search_help_text = "Name, e-mail"
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("May", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    live_on = "user."
    list_buttons_template = "gaia/policy/user_buttons.html"
    show_add_link = False

    @display(description="State", ordering="is_active")
    def state(self, user: User) -> str:
        return ""

    @display(description="Name", ordering="last_name")
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_add_permission(request)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """One button saves; the other two of Django's are left out."""
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Through the action, which records it."""
        save_account(obj)


@admin.register(Token)
class TokenAdmin(ConsoleAdmin):
    """Programs' keys to the API."""

    plural = "Tokens"
    list_display = ("state", "name", "user", "may", "token_key", "created", "expiry", "verbs")
    minor = ("token_key", "created")
    extra = ("user", "may")
    numbers = ("created", "expiry")
    list_select_related = ("user",)
    search_fields = ("name", "user__username", "token_key")
    search_help_text = "Name, person, first characters"
    ordering = ("-created",)
    list_buttons_template = "gaia/policy/token_buttons.html"
    live_on = "token."
    empty = {
        "icon": "key",
        "title": "No token yet",
        "text": "A program sends a token to use the API in a person's name: Authorization: Token gaia_…",
        "url": "admin:policy_token_issue",
        "first": "Issue a token…",
    }

    @display(description="State", ordering="expiry")
    def state(self, token: Token) -> str:
        return ""

    @display(description="May")
    def may(self, token: Token) -> str:
        return ""

    @display(description="")
    def verbs(self, token: Token) -> str:
        return ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Token]:
        """One's own; an operator sees everybody's."""
        rows: QuerySet[Token] = super().get_queryset(request)
        return rows if request.user.is_superuser else rows.filter(user=request.user)

    def prepare_rows(self, rows: list[Any]) -> None:
        now = timezone.now()
        for token in rows:
            token.shown = "expired" if token.expiry and token.expiry < now else "active"

    def get_urls(self) -> list[URLPattern]:
        return [
            self.verb("issue/", self.issue_view, name="issue", post_only=False),
            self.verb("<str:pk>/revoke/", self.revoke_view, name="revoke"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A token has no more to tell than its row."""
        return done(request, "", back=reverse("admin:policy_token_changelist"))

    def issue_view(self, request: HttpRequest) -> HttpResponse:
        """The form; then the token's text, this once."""
        assert isinstance(request.user, User)  # noqa: S101  admin_view lets nobody else in
        form = TokenForm(request.POST or None, issuer=request.user)
        text, error = "", None
        if request.method == "POST" and form.is_valid():
            try:
                text = issue_token(**form.wanted())
            except GaiaError as raised:
                error = raised
        context = {"title": "Issue", "form": form, "text": text, "error": error}
        return self.page(request, "gaia/policy/issue.html", context)

    def revoke_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        """From now on it is refused."""
        token = self.find(request, pk)
        revoke_token(token)
        return done(request, f"Token {token} was revoked.", back=reverse("admin:policy_token_changelist"))
