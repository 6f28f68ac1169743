"""The results of look-ups that are remembered as long as the version of the directory is the same."""

from waypost.app.known import Known

LIMIT = 10


def test_a_result_is_known_only_at_its_version():
    results = Known(LIMIT)
    results.add("a", 1, 2)
    assert [results.get("a", version) for version in (2, 4, None)] == [1, None, None]
    assert results.get("b", 2) is None


def test_a_result_of_another_version_replaces_all_results():
    results = Known(LIMIT)
    results.add("a", 1, 2)
    results.add("b", 2, 4)
    assert (results.get("a", 4), results.get("b", 4)) == (None, 2)
    results.add("c", 3, 2)  # the version before this look-up is no longer the current version
    assert results.get("b", 4) is None


def test_a_result_without_a_version_is_not_known():
    results = Known(LIMIT)
    results.add("a", 1, None)
    assert results.get("a", None) is None


def test_the_number_of_results_is_limited():
    results = Known(LIMIT)
    for number in range(LIMIT + 1):
        results.add(number, "x", 2)
    assert (results.get(0, 2), results.get(LIMIT, 2)) == (None, "x")
