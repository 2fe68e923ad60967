"""Paths that Django answers: the admin and the management API. The wire endpoints are in api.asgi, before Django."""

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from api.pages.components import show_components
from api.pages.new_site import create_site
from api.pages.profile import edit_profile
from api.pages.settings.invitations import join
from api.pages.sign_in import ChoosePassword, ask_for_reset
from api.pages.tables import TABLES
from api.pages.urls import go_home, welcome
from api.rest.urls import automation_urlpatterns

urlpatterns: list[URLPattern | URLResolver] = [
    path("", welcome),
    path("admin", RedirectView.as_view(url="/admin/", http_method_names=["get", "head"])),  # as people type it
    path("admin/", go_home, name="home"),
    path("admin/profile/", edit_profile, name="profile"),
    path("admin/join/<str:token>/", join, name="join"),
    path("admin/sites/new/", create_site, name="site-new"),
    path("admin/password_reset/", ask_for_reset, name="password_reset"),
    path("admin/password_reset/<uidb64>/<token>/", ChoosePassword.as_view(), name="password_reset_confirm"),
    path("admin/components/", TABLES.admin_view(show_components), name="components"),
    path("admin/tables/", TABLES.admin_view(TABLES.index), name="tables"),
    path("admin/s/", include("api.pages.urls")),
    path("admin/", TABLES.urls),
    path("api/", include("api.rest.urls")),
    *automation_urlpatterns,
]

handler400 = "api.rest.errors.answer_bad_request"
handler403 = "api.rest.errors.answer_forbidden"
handler404 = "api.rest.errors.answer_not_found"
handler500 = "api.rest.errors.answer_server_error"
