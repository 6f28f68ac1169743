"""The script that makes the secrets of compose.yaml makes either all of them or none."""

import os
import shutil

import pytest
import yaml

from tests.kit.deployments import DEPLOY, make_secrets

FILE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: apt-get install openssl")
def test_the_script_makes_all_secrets_and_keeps_existing_ones(tmp_path):
    secrets = tmp_path / "secrets"
    done = make_secrets(secrets)
    assert done.returncode == 0, done.stderr
    made = {str(path.relative_to(secrets)) for path in secrets.rglob("*") if path.is_file()}
    named = {secret["file"].removeprefix("./secrets/") for secret in FILE["secrets"].values()}
    assert made == named | {"tls/certificate.pem", "tls/certificate.pem.key"}
    assert secrets.stat().st_mode & 0o077 == 0
    password = (secrets / "database_password").read_text()
    assert f":{password}@database/" in (secrets / "database_url").read_text()
    assert list(tmp_path.iterdir()) == [secrets]
    again = make_secrets(secrets)
    assert (again.returncode, (secrets / "database_password").read_text()) == (1, password)


@pytest.mark.slow
def test_the_script_says_that_openssl_is_missing_and_makes_nothing(tmp_path):
    programs, made = tmp_path / "programs", tmp_path / "made"
    programs.mkdir()
    made.mkdir()
    for name in ("sh", "dirname", "mkdir", "mktemp", "head", "base64", "tr", "rm"):
        (programs / name).symlink_to(shutil.which(name))
    done = make_secrets(made / "secrets", PATH=str(programs))
    assert (done.returncode, list(made.iterdir())) == (1, [])
    assert "openssl is not installed" in done.stderr


@pytest.mark.slow
def test_the_script_shows_the_error_of_openssl_and_makes_nothing(tmp_path):
    programs, made = tmp_path / "programs", tmp_path / "made"
    programs.mkdir()
    made.mkdir()
    (programs / "openssl").write_text("#!/bin/sh\necho 'unknown option -addext' >&2\nexit 1\n")
    (programs / "openssl").chmod(0o700)
    done = make_secrets(made / "secrets", PATH=f"{programs}:{os.environ['PATH']}")
    assert (done.returncode, list(made.iterdir())) == (1, [])
    assert "unknown option -addext" in done.stderr
    assert "No secrets were made." in done.stderr
