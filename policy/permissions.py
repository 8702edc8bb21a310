"""The API's door-keeper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from policy.models import Scope, Token

if TYPE_CHECKING:  # rest_framework.views imports this module, which the settings name
    from rest_framework.views import APIView


class ScopedAccess(BasePermission):
    """Operators (staff) only; a token also needs `read` for reading and `operate` for the rest."""

    message = "This needs an operator's account, or a token with the scope for it."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not (request.user and request.user.is_authenticated and request.user.is_active and request.user.is_staff):
            return False
        if isinstance(request.auth, Token):
            return request.auth.allows(Scope.READ if request.method in SAFE_METHODS else Scope.OPERATE)
        return True
