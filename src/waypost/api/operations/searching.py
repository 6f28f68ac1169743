"""Translates SearchCriteria and SearchFilter into a search condition (`domain.directory.search`)."""

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

from waypost.app import ports
from waypost.domain import errors
from waypost.domain.directory import search
from waypost.domain.directory.search import Comparison, Condition, Either, Every, Field, Tagged

FIELD_NAMES = {
    "emailAddress": Field.ADDRESS,
    "displayName": Field.DISPLAY_NAME,
    "description": Field.DESCRIPTION,
    "emailAddressId": Field.ID,
}
"""The allowed values of FieldName, which is not case-sensitive. AWS does not document the values of FieldName, so
Waypost uses the names of the corresponding API members.
"""

_FIELDS = {
    **{name.lower(): field for name, field in FIELD_NAMES.items()},
    "resourceid": Field.ID,  # the name in Amazon Connect's other searches
}


def took_too_long(error: ports.TookTooLong, members: Any) -> errors.Invalid:
    """Return the error for a SearchEmailAddresses call that took too long, with advice for a faster search."""
    filters = members.search_filter
    if _size_of_criteria(members.search_criteria).characters:
        advice = "Search for fewer values, each with at least three letters."
    elif _size_of_tags(filters.tag_filter if filters else None).conditions:
        advice = "Search for fewer tags, and give the value of at least one tag."
    else:
        advice = "Please try again."
    return errors.Invalid(f"The search took more than {error.seconds:g} seconds, so the server stopped it. {advice}")


def condition(criteria: Any, filters: Any) -> Condition:
    """Return one condition that combines SearchCriteria and SearchFilter; an argument that is None is ignored.

    Raises `errors.Invalid` if a field cannot be searched, if a node of the search has more than one kind of condition,
    or if the search is too large.
    """
    tag_filter = filters.tag_filter if filters else None
    size = _size_of_criteria(criteria).with_others(_size_of_tags(tag_filter))
    search.check_size(conditions=size.conditions, depth=size.depth, characters=size.characters)
    return search.all_of((*_criteria(criteria), *_tags(tag_filter)))


def tag_values(filters: Any) -> dict[str, tuple[str, ...]]:
    """Return the values of the condition key connect:SearchTag (the tag values that a SearchFilter requires), grouped
    by tag key.

    A tag key is included only if every alternative in the filter requires it. Otherwise, a caller could add an
    alternative that does not require the key, and so find email addresses that the policy is meant to hide.
    """
    node = filters.tag_filter if filters else None
    if node is None:
        return {}
    alternatives = [_values(one) for one in node.or_conditions or ()] or [
        _values([*(node.and_conditions or ()), *([node.tag_condition] if node.tag_condition else ())])
    ]
    in_all = set[str].intersection(*(set(values) for values in alternatives))
    return {key: tuple(sorted(set().union(*(values[key] for values in alternatives)))) for key in in_all}


def _values(tag_conditions: Iterable[Any]) -> dict[str, set[str]]:
    """Return the values in the tag conditions, grouped by tag key. An empty string means that the tag may have any
    value.
    """
    values: dict[str, set[str]] = {}
    for one in tag_conditions:
        values.setdefault(one.tag_key or "", set()).add(one.tag_value or "")
    return values


class _Size(NamedTuple):
    """The size of a search, or of a part of a search. The size is computed before the search conditions are built, so
    that a search that is too large is refused early.
    """

    conditions: int = 0
    depth: int = 0
    characters: int = 0

    def with_others(self, *others: "_Size") -> "_Size":
        all_of = (self, *others)
        return _Size(
            sum(one.conditions for one in all_of),
            max(one.depth for one in all_of),
            sum(one.characters for one in all_of),
        )


def _size_of_criteria(node: Any) -> _Size:
    if node is None:
        return _Size()
    inner = [_size_of_criteria(one) for one in (*(node.or_conditions or ()), *(node.and_conditions or ()))]
    if not inner:  # an empty node also counts as a condition
        text = node.string_condition
        return _Size(1, 0, len(text.value or "") if text else 0)
    size = _Size().with_others(*inner)
    return size._replace(depth=size.depth + 1)


def _size_of_tags(node: Any) -> _Size:
    if node is None:
        return _Size()
    several = node.or_conditions or ()
    one = [node.tag_condition] if node.tag_condition else []
    tags = [*itertools.chain.from_iterable(several), *(node.and_conditions or ()), *one]
    empty = sum(not alternative for alternative in several)
    return _Size(len(tags) + empty, 0, sum(len(tag.tag_key or "") + len(tag.tag_value or "") for tag in tags))


def _criteria(node: Any) -> Iterable[Condition]:
    """Yield the condition of a SearchCriteria node. For an empty node, yield no condition, because an empty node does
    not restrict the search.
    """
    if node is None:
        return
    _refuse_several(
        "SearchCriteria",
        OrConditions=node.or_conditions,
        AndConditions=node.and_conditions,
        StringCondition=node.string_condition,
    )
    if node.or_conditions:
        yield Either(tuple(search.all_of(_criteria(inner)) for inner in node.or_conditions))
    if node.and_conditions:
        yield Every(tuple(search.all_of(_criteria(inner)) for inner in node.and_conditions))
    if node.string_condition:
        yield _text(node.string_condition)


def _text(node: Any) -> Condition:
    _refuse_absent("StringCondition", FieldName=node.field_name, Value=node.value, ComparisonType=node.comparison_type)
    return search.text(_field(node.field_name), Comparison(node.comparison_type), node.value)


def _field(name: str) -> Field:
    found = _FIELDS.get(name.lower())
    if found is None:
        known = ", ".join(FIELD_NAMES)
        raise errors.Invalid(f"FieldName {name[:100]!r} cannot be searched. FieldName must be one of {known}.")
    return found


def _tags(node: Any) -> Iterable[Condition]:
    """Yield the conditions of a TagFilter. OrConditions is a list of lists: an email address matches if it has all tags
    in at least one inner list.
    """
    if node is None:
        return
    _refuse_several(
        "TagFilter",
        OrConditions=node.or_conditions,
        AndConditions=node.and_conditions,
        TagCondition=node.tag_condition,
    )
    if node.or_conditions:
        yield Either(tuple(search.all_of(map(_tagged, several)) for several in node.or_conditions))
    yield from map(_tagged, node.and_conditions or ())
    if node.tag_condition:
        yield _tagged(node.tag_condition)


def _tagged(node: Any) -> Tagged:
    _refuse_absent("TagCondition", TagKey=node.tag_key)
    return Tagged(node.tag_key, node.tag_value)


def _refuse_several(what: str, **kinds: Any) -> None:
    given = [name for name, value in kinds.items() if value]
    if len(given) > 1:
        raise errors.Invalid(f"A node of {what} may have only one kind of condition, not {' and '.join(given)}.")


def _refuse_absent(what: str, **members: str | None) -> None:
    absent = [name for name, value in members.items() if value is None]
    if absent:
        raise errors.Invalid(f"{what} needs {' and '.join(absent)}.")
