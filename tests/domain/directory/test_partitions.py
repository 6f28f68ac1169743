"""Tests of regions and their partitions, which are compared with botocore's data."""

import json
from importlib.resources import files

import pytest

from waypost.domain.directory import partitions
from waypost.domain.directory.instances import Tenant
from waypost.domain.directory.partition_table import PARTITIONS

PUBLISHED = {
    region: partition["id"]
    for partition in json.loads(files("botocore").joinpath("data/partitions.json").read_bytes())["partitions"]
    for region in partition["regions"]
    if not region.endswith("-global")
}


@pytest.mark.parametrize(("region", "partition"), PUBLISHED.items())
def test_every_published_region_is_accepted_and_in_its_partition(region, partition):
    """If this test fails with a newer botocore, run `make model`."""
    assert partitions.is_region(region)
    assert partitions.partition_of(region) == Tenant("123456789012", region).partition == partition


MADE_UP = [
    ("eu-nowhere-12", "aws"),
    ("cn-nowhere-1", "aws-cn"),
    ("us-isob-nowhere-1", "aws-iso-b"),
    ("eusc-de-nowhere-1", "aws-eusc"),
    ("us-gov-nowhere-1", "aws-us-gov"),
    ("nz-new-1", "aws"),
    ("xx-aaa-1", "aws"),
    ("local", "aws"),
]


@pytest.mark.parametrize(("region", "partition"), MADE_UP)
def test_an_unpublished_region_is_refused_but_has_a_partition(region, partition):
    """Earlier versions accepted such regions, so their data can contain resources in them."""
    assert not partitions.is_region(region)
    assert partitions.partition_of(region) == partition


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aws-global",
        "us-east",
        "US-EAST-1",
        "us-East-1",
        "us-east-1\n",
        "us-é-1",
        "us-a_b-1",
        "us-" + "a" * 40 + "-1",
        "eusc-fr-x-1",
        "us-east-1x",
    ],
)
def test_a_malformed_region_name_is_refused(text):
    assert not partitions.is_region(text)


def test_a_published_region_is_in_its_partition_even_if_no_pattern_matches(monkeypatch):
    monkeypatch.setattr(partitions, "PARTITIONS", (*PARTITIONS, ("aws-x", "^x$", ("moon-base-1",))))
    partitions._named.cache_clear()
    assert partitions.partition_of("moon-base-1") == "aws-x"
    partitions._named.cache_clear()


def test_a_name_that_is_not_a_region_is_in_the_first_partition():
    assert partitions.partition_of("Nowhere 1") == "aws"
