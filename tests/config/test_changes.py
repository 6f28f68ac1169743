"""Comparing settings: which have changed, and which of them a running server can use."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from waypost.config import changes, tables
from waypost.config.settings import ROWS, Settings
from waypost.config.sources import from_options
from waypost.domain.mail.retention import Rule
from waypost.domain.mail.routes import Route

BEFORE = from_options(limits="relaxed", http="127.0.0.1:1")
AFTER = replace(
    from_options(limits="aws", http="127.0.0.1:2", log_level="error"),
    routes=(Route(match="*", to="maildir:/x"),),
    retention=(Rule(match="*", size=1),),
    delivery=tables.Delivery(srs_domain="example.com", connections=7),
)


def test_changes_are_divided_by_what_they_need():
    found = changes.between(BEFORE, AFTER)
    assert found.reloadable == ["delivery.srs_domain", "limits", "log_level", "retention", "route"]
    assert found.need_restart == ["delivery.connections", "http"]


def test_a_reload_changes_only_what_can_be_reloaded():
    now = changes.reloaded(BEFORE, AFTER)
    assert changes.between(BEFORE, now).need_restart == []
    assert changes.between(now, AFTER).reloadable == []
    assert changes.between(now, AFTER).need_restart == ["delivery.connections", "http"]
    assert now == replace(
        BEFORE,
        limits=AFTER.limits,
        log_level=AFTER.log_level,
        routes=AFTER.routes,
        retention=AFTER.retention,
        delivery=tables.Delivery(srs_domain="example.com"),
    )


def test_equal_settings_have_no_changes():
    assert changes.between(BEFORE, from_options(limits="relaxed", http="127.0.0.1:1")) == changes.Changes([], [])


def test_the_path_of_the_settings_file_is_no_change():
    assert changes.between(BEFORE, replace(BEFORE, config=Path("elsewhere.toml"))) == changes.Changes([], [])


def test_a_secret_of_a_route_is_a_change_and_is_not_in_the_digests():
    routes = [
        (Route(match="*", to="https://example.com/", secret=secret),) for secret in ("first-secret", "second-secret")
    ]
    one, two = (replace(BEFORE, routes=each) for each in routes)
    assert changes.between(one, two).reloadable == ["route"]
    assert "second-secret" not in str(changes.digests(two))


def test_digests_are_equal_in_other_processes():
    """Python iterates over the same set of strings in another order in each process."""
    code = (
        "from waypost.config import changes, sources; print(changes.digests(sources.from_options(shared_domains='%s')))"
    )
    domains = ",".join(f"{letter}.example" for letter in "abcdefgh")
    found = {
        subprocess.run(
            [sys.executable, "-c", code % domains],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_setting_that_only_another_version_knows_needs_a_restart():
    assert changes.of_digests({"a_new_setting": "1"}, {}).need_restart == ["a_new_setting"]


@pytest.mark.parametrize("name", sorted({*ROWS} - {"config"}))
def test_each_setting_has_a_digest(name):
    assert name in changes.digests(Settings())
