"""Hints of the sign-in page, and the reset of a forgotten password by e-mail."""

from itertools import islice
from typing import Any, Final

import structlog
from django.conf import settings
from django.contrib.auth import views
from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse, reverse_lazy
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from django.views.decorators.cache import never_cache
from redis.exceptions import RedisError

from api.http.mail import has_mail, send_in_background
from api.http.public_address import link_to
from api.models.audit import write_audit
from api.pages.access import without_nul

log = structlog.get_logger(__name__)

PAUSE: Final = 300  # seconds between two e-mails to the same user
MOST_USERS: Final = 5  # with the same e-mail address
FIRST: Final = "first-site.env"  # of manage.py bootstrap


def may_reset() -> bool:
    """Return True if passwords are reset by e-mail.

    It needs the public address, because a stranger chooses the host that a request names.
    """
    return has_mail() and bool(settings.PUBLIC_URL)


def find_first_password() -> str:
    """Return the path of the file with the first password, empty once anybody has signed in. One query at most.

    It begins at the project's folder if the file is there.
    """
    path = settings.DATA_DIR / FIRST
    try:
        has_password = "GOALPOST_ADMIN_PASSWORD=" in path.read_text()
    except OSError:
        return ""
    if not has_password or User.objects.exclude(last_login=None).exists():
        return ""
    return str(path.relative_to(settings.BASE_DIR) if path.is_relative_to(settings.BASE_DIR) else path)


class ResetForm(PasswordResetForm):
    """An e-mail address. Each user who has it gets a link; whoever asks does not learn whether there is one."""

    def save(self, *_: Any, **__: Any) -> None:
        for user in islice(self.get_users(self.cleaned_data["email"]), MOST_USERS):
            if is_first(user):
                send_in_background(*write_letter(user), user.email)


def is_first(user: User) -> bool:
    """Return True once in PAUSE seconds for a user. Without Redis only the queue of e-mails limits them."""
    try:
        return bool(cache.add(f"password-reset:{user.pk}", 1, timeout=PAUSE))
    except RedisError as error:
        log.warning("password_reset.unlimited", error=type(error).__name__)
        return True


def write_letter(user: User) -> tuple[str, str]:
    """Return subject and body of the e-mail with the link to a new password."""
    parts = [urlsafe_base64_encode(force_bytes(user.pk)), default_token_generator.make_token(user)]
    lines = [
        f"A new password was requested for “{user.get_username()}” in Goalpost.",
        "",
        "Open this link to choose one. It works once, within an hour.",
        link_to(reverse("password_reset_confirm", args=parts)),
        "",
        "If you did not request it, do nothing: your password stays as it is.",
    ]
    return "[Goalpost] New password", "\n".join(lines)


@never_cache
def ask_for_reset(request: HttpRequest) -> HttpResponseBase:
    """Ask for an e-mail address; on POST send the link. 404 if there is no mail server or no public address."""
    if not may_reset():
        raise Http404
    form = ResetForm(without_nul(request.POST) if request.method == "POST" else None)
    if form.is_valid():
        form.save()
    context = {"form": form, "is_sent": form.is_bound and form.is_valid()}
    return TemplateResponse(request, "password_reset.html", context, status=400 if form.errors else 200)


class ChoosePassword(views.PasswordResetConfirmView):
    """The page of the link: a new password, once."""

    template_name = "password_choose.html"
    success_url = reverse_lazy("admin:login")

    def form_valid(self, form: Any) -> Any:
        write_audit(form.user, None, f"Reset the password of the user {form.user.pk} by e-mail", None, None)
        return super().form_valid(form)
