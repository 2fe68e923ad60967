"""The page on which a person accepts an invitation to a site (api.http.invitations), with an account or a new one."""

from django.contrib import auth
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from api.http.invitations import DAYS, Invitation, accept, open_invitation
from api.models.audit import write_audit
from api.pages.access import show, without_nul

TAKEN = "This username has an account already. Sign in with it to accept the invitation."


@never_cache
@sensitive_post_parameters("new_password1", "new_password2")
def join(request: HttpRequest, token: str) -> HttpResponseBase:
    """Ask the invited person to confirm, then add the member. 404 for an invalid or foreign invitation.

    Who is not signed in may choose a password, which creates the user, or sign in.
    """
    user = request.user
    invitation = open_invitation(token)
    if not user.is_authenticated or not user.is_active:
        return welcome(request, invitation)
    if invitation is None or invitation.username != user.get_username():
        return show(request, "pages/join.html", title="No invitation", days=DAYS, status=404)
    if request.method != "POST":
        title = f"Join {invitation.site.name}"
        return show(request, "pages/join.html", title=title, to=invitation.site, role=invitation.role.label)
    with transaction.atomic():
        accept(invitation, user)
    return redirect("pages:home", invitation.site.sitecode)


def welcome(request: HttpRequest, invitation: Invitation | None) -> HttpResponseBase:
    """Show an invitation without a sign-in; on POST create the account, and sign the person in."""
    if invitation is None:
        return TemplateResponse(request, "invitation.html", {"days": DAYS}, status=404)
    user = User(username=invitation.username, email=email_of(invitation.username))
    form = SetPasswordForm(user, without_nul(request.POST) if request.method == "POST" else None)
    if form.is_valid():
        try:
            with transaction.atomic():
                user.clean_fields(exclude=["password"])
                if User.objects.filter(username__iexact=user.username).exists():
                    raise IntegrityError
                form.save()
                write_audit(user, None, created_by_invitation(user), None, {"username": user.username})
                accept(invitation, user)
        except ValidationError:  # of a link from before usernames were checked
            form.add_error(None, "No account can have this username. Ask for another invitation.")
        except IntegrityError:  # another request may have taken the name meanwhile
            form.add_error(None, TAKEN)
        else:
            auth.login(request, user)
            return redirect("pages:home", invitation.site.sitecode)
    context = {"invitation": invitation, "role": invitation.role.label.lower(), "form": form}
    return TemplateResponse(request, "invitation.html", context, status=400 if form.errors else 200)


def created_by_invitation(user: User) -> str:
    """Return what the audit log says of an account that an invitation created."""
    return f"Created the user {user.pk} by an invitation"


def email_of(username: str) -> str:
    """Return a username that is an e-mail address, otherwise an empty text."""
    try:
        EmailValidator()(username)
    except ValidationError:
        return ""
    return username
