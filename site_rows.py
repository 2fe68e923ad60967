"""Base of models whose rows belong to sites: each statement that Django writes for such a row names its site.

Django's key of a row stays `id`. The database finds it by site and id, so that a row of another site is out of reach.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.deletion import Collector
from django.db.models.fields.related_descriptors import (
    ForwardManyToOneDescriptor,
    ReverseManyToOneDescriptor,
    create_reverse_many_to_one_manager,
)
from django.utils.functional import cached_property

# ruff: noqa: SLF001 - Django's managers and collectors have no public names for these
Assigned = TypeVar("Assigned")
Given = TypeVar("Given")
Row = TypeVar("Row", bound=models.Model)
SITES: Final = "api.Site"
MOST_PARAMETERS: Final = 65_535  # of a statement of PostgreSQL

if TYPE_CHECKING:  # without types when they run
    Forward = ForwardManyToOneDescriptor[Any]
    Reverse = ReverseManyToOneDescriptor[Any]
else:
    Forward, Reverse = ForwardManyToOneDescriptor, ReverseManyToOneDescriptor


class SiteRows(models.QuerySet[Row]):
    """Rows of sites, inserted with as many parameters a statement as PostgreSQL takes."""

    def bulk_create(self, objs: Iterable[Row], batch_size: int | None = None, **options: Any) -> list[Row]:  # type: ignore[override]  # the options of Django
        most = MOST_PARAMETERS // len(self.model._meta.concrete_fields)
        return super().bulk_create(objs, min(batch_size or most, most), **options)


class SiteRow(models.Model):
    """A row of one site, with the foreign key `site`."""

    objects: ClassVar[models.Manager[Self]] = models.Manager.from_queryset(SiteRows)()

    class Meta:
        abstract = True

    def _do_update(self, base_qs: Any, *arguments: Any, **options: Any) -> Any:
        """Let save() send `UPDATE … WHERE site_id = … AND id = …`."""
        return super()._do_update(base_qs.filter(**_site_of(self)), *arguments, **options)

    def refresh_from_db(
        self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None
    ) -> None:
        rows = type(self)._base_manager.all() if from_queryset is None else from_queryset
        if "site_id" not in self.get_deferred_fields():
            rows = rows.filter(**_site_of(self))
        super().refresh_from_db(using, fields, rows)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:  # noqa: ARG002, FBT001, FBT002
        """Delete this row and the rows that depend on it, all of one site."""
        return delete_row(self, using=using)


def delete_row(row: models.Model, *, using: str | None = None) -> tuple[int, dict[str, int]]:
    """Delete a row of a site, or a site, and the rows that depend on it. Return the counts as Django does."""
    collector = SiteCollector(using=using or row._state.db or "default")
    collector.site = _site_of(row)
    collector.collect([row])
    return collector.delete()


def lock_first(rows: models.QuerySet[Row], *, most: int = 20) -> Row | None:
    """Lock and return the first of these rows, of any site, that no other session has locked. One query, and one a row.

    The first query goes to all sites and locks nothing. The others each name the site of a row, of `most` rows at most.
    """
    for site_id, id_ in list(rows.values_list("site_id", "pk")[:most]):
        row = rows.filter(site_id=site_id, pk=id_).select_for_update(skip_locked=True, of=("self",)).first()
        if row is not None:
            return row
    return None


def has_site(model: type[models.Model]) -> bool:
    """Return True if the rows of a model belong to sites."""
    return any(field.name == "site" for field in model._meta.local_concrete_fields)


def _site_of(row: models.Model) -> dict[str, Any]:
    """Return the filter by the site of a row, or by a site itself. It is empty for a row of no site."""
    if row._meta.label == SITES:
        return {"site_id": row.pk}
    return {"site_id": row.site_id} if has_site(type(row)) else {}  # type: ignore[attr-defined]  # of such models


def _site_of_all(rows: Sequence[models.Model]) -> dict[str, Any]:
    """Return the filter by the site of these rows. It is empty if they have several, which no view may read at once."""
    sites = {tuple(_site_of(row).items()) for row in rows}
    return dict(sites.pop()) if len(sites) == 1 else {}


class SiteCollector(Collector):
    """Django's collector of the rows to delete, all of one site, with statements that name it."""

    site: dict[str, Any]

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> models.QuerySet[Any]:
        rows = super().related_objects(related_model, related_fields, objs)
        return rows.filter(**self.site) if has_site(related_model) else rows

    def delete(self) -> tuple[int, dict[str, int]]:
        # PostgreSQL checks foreign keys at the commit, so that the order of these statements is free.
        deleted_rows = [row for rows in self.data.values() for row in rows]
        for model in [model for model in self.data if has_site(model)]:
            ids = [row.pk for row in self.data.pop(model)]
            self.fast_deletes.append(model._base_manager.using(self.using).filter(**self.site, pk__in=ids))
        counts = super().delete()
        for row in deleted_rows:
            row.pk = None
        return counts


class _ForwardDescriptor(Forward):
    """The row that a foreign key points to, prefetched by its site."""

    def get_prefetch_querysets(self, instances: Any, querysets: Any = None) -> Any:
        rows = querysets[0] if querysets else self.get_queryset(instance=instances[0])
        rows.query.add_q(Q(**_site_of_all(instances)))
        return super().get_prefetch_querysets(instances, [rows])


class _ReverseDescriptor(Reverse):
    """The rows that point to a row, found by its site."""

    @cached_property
    def related_manager_cls(self) -> Any:
        manager: Any = create_reverse_many_to_one_manager(self.rel.related_model._default_manager.__class__, self.rel)

        class RelatedManager(manager):  # type: ignore[misc]  # Django makes the base while the program runs
            def __init__(self, instance: Any) -> None:
                super().__init__(instance)
                if self.field.name != "site":
                    self.core_filters |= _site_of(instance)

            def get_prefetch_querysets(self, instances: Any, querysets: Any = None) -> Any:
                rows = querysets[0] if querysets else self.model._default_manager.all()
                rows.query.add_q(Q(**_site_of_all(instances)))
                return super().get_prefetch_querysets(instances, [rows])

        return RelatedManager


class SiteColumn(models.ForeignKey[Assigned, Given]):
    """The foreign key `site` of a row. Migrations see an ordinary one."""

    related_accessor_class = _ReverseDescriptor

    def get_placeholder(self, value: Any, compiler: Any, connection: Any) -> str:  # noqa: ARG002
        """Let bulk_create() send VALUES, because unnest() would take the site of each row from an array."""
        return "%s"

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.ForeignKey", arguments, options


class SiteForeignKey(models.ForeignKey[Assigned, Given]):
    """A foreign key to a row of the same site: joins and look-ups compare the site, too. Migrations see a plain one."""

    forward_related_accessor_class = _ForwardDescriptor
    related_accessor_class = _ReverseDescriptor

    def get_joining_fields(self, reverse_join: bool = False) -> Any:  # noqa: FBT001, FBT002
        sites = [model._meta.get_field("site") for model in (self.model, self.remote_field.model)]
        return (*super().get_joining_fields(reverse_join), tuple(reversed(sites) if reverse_join else sites))

    def get_extra_descriptor_filter(self, instance: Any) -> dict[str, Any]:
        return _site_of(instance)

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        """Raise ValidationError unless a row of the same site has this id. One query."""
        site = {} if model_instance is None else _site_of(model_instance)
        if site.get("site_id") is None:  # a form sets it later
            super().validate(value, model_instance)
            return
        models.Field.validate(self, value, model_instance)
        if value is not None and not self.remote_field.model._base_manager.filter(**site, pk=value).exists():
            names = {"model": self.remote_field.model._meta.verbose_name, "pk": value, "field": "id", "value": value}
            raise ValidationError(self.error_messages["invalid"], code="invalid", params=names)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.ForeignKey", arguments, options
