"""The blocks of the README, the tutorial and the how-to pages, run in order, have the results that the pages show."""

import shutil
from collections import Counter

import pytest

from tests.docs_blocks.blocks import PAGES, ROOT, blocks_of
from tests.docs_blocks.session import NODE_MODULES, BlockFailed, Session
from tests.docs_blocks.shown_text import CHECKS
from tests.docs_blocks.surroundings import surroundings

pytestmark = pytest.mark.slow

LANGUAGES = {"bash", "console", "python", "javascript", "toml", "json", "yaml", "ini"}
"""The languages of blocks that can be run. Shell commands are `bash`, or `console` if the block shows their output."""

NEEDED = {"curl": "curl ", "node": "```javascript\n"}
"""Programs that are not part of Waypost, and the text of a page that needs them."""

NOT_RUN = {
    ("README.md", "make demo     # sets everything up, and shows the main job with a real server and real clients"): (
        "`make test` runs this test; `.ci/run` and `make fresh` run both commands"
    ),
    ("README.md", "   AWS SDK, AWS CLI          mail client                SMTP, LMTP, Maildir, webhook"): (
        "a drawing"
    ),
    (
        "docs/how-to/install.md",
        "make package",
    ): "it downloads packages; tests/packages installs the wheel without a network",
    (
        "docs/how-to/container.md",
        "make package",
    ): "it needs a container engine; `make image` builds and checks the image",
    (
        "docs/how-to/container.md",
        "podman run --detach --name waypost --read-only --cap-drop all --security-opt no-new-privileges \\",
    ): ("it needs a container engine; `make image` runs the image"),
    (
        "docs/how-to/upgrade.md",
        (
            "sudo -u waypost env WAYPOST_SERVE_DATA=/var/lib/waypost/data "
            "/opt/waypost-NEW/bin/waypost backup /var/lib/waypost/before"
        ),
    ): "it needs an installed server, and systemd as process 1",
    (
        "docs/how-to/backup.md",
        "install -m 644 deploy/systemd/waypost-backup.service deploy/systemd/waypost-backup.timer /etc/systemd/system/",
    ): "it needs systemd as process 1; tests/deploy/test_systemd.py checks the units",
    ("docs/how-to/backup.md", "systemctl stop waypost"): (
        "it needs systemd as process 1; tests/e2e/stores/test_backup.py runs the commands"
    ),
    ("docs/how-to/compose.md", "docker compose stop waypost-1 waypost-2"): (
        "it needs a container engine; tests/e2e/stores/test_backup.py restores to PostgreSQL"
    ),
    (
        "docs/how-to/kubernetes.md",
        (
            "pod=$(kubectl --namespace waypost get pods --selector app.kubernetes.io/component=api --output name "
            "| head -n 1)"
        ),
    ): "it needs a cluster",
    ("docs/how-to/kubernetes.md", "kubectl --namespace waypost scale deployment --all --replicas 0"): (
        "it needs a cluster"
    ),
    ("docs/how-to/kubernetes.md", "kubectl apply --filename my-secrets.yaml"): "it needs a cluster",
    ("docs/how-to/compose.md", "make package"): (
        "it needs a container engine; tests/deploy/test_compose.py runs the services"
    ),
    ("docs/how-to/compose.md", "http-request deny if { path,url_dec -m beg /_waypost/ } !{ src 192.0.2.0/24 }"): (
        "tests/deploy/test_compose.py adds this line to the configuration of HAProxy"
    ),
    ("docs/how-to/compose.md", "docker compose kill --signal USR2 proxy"): "it needs a container engine",
    ("docs/how-to/compose.md", "docker compose exec waypost-1 waypost backup /data/backup"): (
        "it needs a container engine; tests/e2e/stores/test_backup.py runs the command"
    ),
    ("docs/how-to/install.md", "useradd --system --home-dir /var/lib/waypost --shell /usr/sbin/nologin waypost"): (
        "it changes the machine, as root; `make tutorial` runs its other commands"
    ),
    ("docs/how-to/install.md", "install -d -m 755 /etc/waypost"): "it changes the machine, as root",
    ("docs/how-to/install.md", "install -m 644 deploy/systemd/waypost.service /etc/systemd/system/"): (
        "it needs systemd as process 1; tests/deploy/test_systemd.py checks the unit"
    ),
    ("docs/how-to/install.md", "mkdir -p /etc/systemd/system/waypost.service.d"): (
        "it needs systemd as process 1; tests/deploy/test_systemd.py checks the drop-in"
    ),
    ("docs/how-to/backup.md", "createdb --encoding UTF8 --template template0 waypost_copy"): (
        "it needs a PostgreSQL server; tests/e2e/stores/test_backup.py restores to one"
    ),
    ("docs/how-to/backup.md", 'eval "$(waypost env --data waypost-copy)"'): (
        "it needs a queued delivery; tests/store/contract/mail/test_deleting.py deletes one"
    ),
    (
        "docs/how-to/move-between-stores.md",
        "createdb --encoding UTF8 --template template0 --owner waypost waypost",
    ): "it needs a PostgreSQL server; tests/e2e/stores/test_copy.py copies to one",
    (
        "docs/how-to/move-between-stores.md",
        "waypost copy waypost-data-sqlite --data waypost-data-postgresql",
    ): "it needs a PostgreSQL server; tests/e2e/stores/test_copy.py copies from one",
    (
        "docs/how-to/doctor.md",
        "$ waypost doctor --config /etc/waypost/waypost.toml --data /var/lib/waypost/data",
    ): "it needs an installed server whose certificate has expired; tests/e2e/commands/test_doctor.py runs the command",
    ("docs/how-to/kubernetes.md", "kubectl apply --filename deploy/kubernetes/00-namespace.yaml"): (
        "it needs a cluster; tests/deploy/test_kubernetes.py runs the servers of the manifests"
    ),
    ("docs/how-to/run-it.md", "$ waypost serve --check --config waypost.toml"): (
        "the shell of these tests starts a server for each `waypost serve`; tests/e2e/commands/test_reload.py runs it"
    ),
    ("docs/how-to/run-it.md", "/var/log/waypost/waypost.log {"): "a configuration of logrotate for a unit of systemd",
    (
        "docs/how-to/doctor.md",
        "systemd-run --pipe --wait --quiet --uid=waypost --property=AmbientCapabilities=CAP_NET_BIND_SERVICE \\",
    ): "it needs systemd as process 1",
    ("docs/how-to/rotate-keys.md", "waypost keys deactivate AKIA…    # the id in DIR/credentials"): (
        "it needs systemd as process 1"
    ),
    ("docs/how-to/traces.md", "systemctl stop waypost"): "it needs systemd as process 1, and downloads packages",
    ("docs/how-to/traces.md", "receivers:"): "a configuration of another program, the OpenTelemetry Collector",
    ("docs/how-to/see-mail-in-a-browser.md", "ssh -L 8025:127.0.0.1:8025 mail.example.com"): "it needs another machine",
}
"""The blocks that are not run, by their page and first line, each with the reason. Keep this list short."""


def is_run(block) -> bool:
    return (block.page, block.first_line) not in NOT_RUN


SHORT = {"README.md", "docs/tutorial.md", "docs/how-to/test-with-waypost.md", "docs/how-to/inject-faults.md"}
"""The pages that `.ci/run` runs too. The others take minutes."""


@pytest.mark.parametrize(
    "page", [page if page in SHORT else pytest.param(page, marks=pytest.mark.long) for page in PAGES]
)
def test_the_blocks_of_a_page_have_the_results_that_it_shows(page, tmp_path):
    text = (ROOT / page).read_text(encoding="utf-8")
    if missing := [program for program, mark in NEEDED.items() if mark in text and not shutil.which(program)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if NEEDED["node"] in text and not NODE_MODULES.exists():
        pytest.skip("npm has not fetched the packages that JavaScript blocks import")
    failed = ""
    try:
        with Session(tmp_path) as session, surroundings(page, session) as afterwards:
            for block in filter(is_run, blocks_of(page)):
                if check := CHECKS.get((block.page, block.first_line)):
                    check(block)
                else:
                    session.run(block)
                afterwards(block)
    except BlockFailed as error:
        failed = str(error)
    if failed:  # a Python traceback would hide the message
        pytest.fail(failed, pytrace=False)


def test_every_block_is_run_or_listed_with_a_reason(record_property):
    blocks = [block for page in PAGES for block in blocks_of(page)]
    assert len(blocks) > 40
    for block in filter(is_run, blocks):
        assert block.language in LANGUAGES or (block.page, block.first_line) in CHECKS, (
            f"{block.place}: a block in {block.language!r} is not run. Write one of {', '.join(sorted(LANGUAGES))} "
            f"behind its three backticks, write a check in shown_text.py, or list it in NOT_RUN of {__name__}, with "
            "the reason."
        )
    unused = (NOT_RUN.keys() | CHECKS.keys()) - {(block.page, block.first_line) for block in blocks}
    assert not unused, f"NOT_RUN and CHECKS list blocks that no page has: {unused}"
    ran = Counter(block.language for block in filter(is_run, blocks))
    pages = len({block.page for block in blocks})
    languages = ", ".join(f"{count} {language}" for language, count in ran.most_common())
    record_property(
        "to_be_told",
        f"documentation: {ran.total()} of {len(blocks)} code blocks of {pages} pages are run ({languages})",
    )
