"""The admin pages of the door: sites, credentials, sources and their rules, and the inbox."""

from django.contrib import admin

from api.admin import credentials, inbox, members, rules, sites, sources

__all__ = ["credentials", "inbox", "members", "rules", "sites", "sources"]

admin.site.site_header = admin.site.site_title = "Goalpost"
admin.site.site_url = None  # there is no other site to view
admin.site.index_title = "What came in, what it did, and who may send and read"
