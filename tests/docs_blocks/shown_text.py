"""Blocks that are no code but what a reader sees or writes elsewhere: header fields, and settings of other programs."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.docs_blocks.blocks import ROOT, Block
from tests.docs_blocks.session import BlockFailed
from waypost.domain.mailauth import verdicts
from waypost.domain.mailauth.verdicts import Dkim, Dmarc, Outcome, Spf, Verdicts
from waypost.inspection.operations import OPERATIONS

HOST = "mx.here.example"


def field_with_results(block: Block) -> None:
    """Compare with the field that Waypost writes if everything passes."""
    found = Verdicts(
        Spf(Outcome.PASS, "example.com", "mailfrom"),
        (Dkim(Outcome.PASS, "example.com", "2026", "@example.com"),),
        Dmarc(Outcome.PASS, "example.com", "reject"),
    )
    _compare(block, verdicts.authentication_results(found, HOST))


def field_without_results(block: Block) -> None:
    """Compare with the field that Waypost writes if it could check nothing."""
    _compare(block, verdicts.no_results(HOST, "the DNS does not answer"))


def settings_of_postfix(block: Block) -> None:
    """Let Postfix read its settings. It warns of parameters that it does not have. Without Postfix, check nothing."""
    postconf = shutil.which("postconf", path="/usr/sbin:/usr/bin")
    if postconf is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "main.cf").write_text(block.text, encoding="utf-8")
        (Path(folder) / "master.cf").write_text("", encoding="utf-8")
        read = subprocess.run([postconf, "-c", folder, "-n"], capture_output=True, text=True, check=False)
    names = set(re.findall(r"^(\w+) =", block.text, re.MULTILINE))
    if read.returncode or read.stderr or not names <= set(re.findall(r"^(\w+) =", read.stdout, re.MULTILINE)):
        raise BlockFailed(f"{block.place}: Postfix reads {read.stdout!r} and reports {read.stderr!r}")


def _compare(block: Block, lines: list[str] | tuple[str, ...]) -> None:
    if block.text.splitlines() != list(lines):
        raise BlockFailed(f"{block.place}: Waypost writes another field:\n" + "\n".join(lines))


def jobs_of_prometheus(block: Block) -> None:
    """Check a Prometheus configuration: its one job collects the page that the server has."""
    (job,) = yaml.safe_load(block.text)["scrape_configs"]
    assert job["metrics_path"] in {f"/_waypost{operation.path}" for operation in OPERATIONS}


def pods_for_prometheus(block: Block) -> None:
    """Check a Prometheus configuration: its one job finds the pods by the service and the port of the manifest."""
    (job,) = yaml.safe_load(block.text)["scrape_configs"]
    (search,) = job["dns_sd_configs"]
    service = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "30-metrics.yaml").read_text(encoding="utf-8"))
    named = service["metadata"]
    assert search["names"] == [f"{named['name']}.{named['namespace']}.svc.cluster.local"]
    assert search["port"] == service["spec"]["ports"][0]["port"]


def key_for_prometheus(block: Block) -> None:
    """Check the part of a Prometheus configuration that names an access key."""
    assert set(yaml.safe_load(block.text)["basic_auth"]) == {"username", "password_file"}


CHECKS: dict[tuple[str, str], Callable[[Block], None]] = {
    ("docs/how-to/mail-from-the-internet.md", "virtual_mailbox_domains = example.com"): settings_of_postfix,
    ("docs/how-to/kubernetes.md", "scrape_configs:"): pods_for_prometheus,
    ("docs/how-to/monitor.md", "scrape_configs:"): jobs_of_prometheus,
    ("docs/how-to/monitor.md", "    basic_auth:"): key_for_prometheus,
    ("docs/how-to/sender-authentication.md", "Authentication-Results: mx.here.example;"): field_with_results,
    ("docs/how-to/sender-authentication.md", "Authentication-Results: mx.here.example; none"): field_without_results,
}
"""The check of each block of text, by its page and first line."""
