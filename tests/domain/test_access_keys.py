"""The access key keeps its secret."""

from waypost.domain.access_keys import AccessKey

KEY = AccessKey("AKIAEXAMPLE", "s3cret", "000000000000")


def test_only_the_secret_is_the_secret():
    assert KEY.has_secret("s3cret")
    assert not KEY.has_secret("S3cret")
    assert not KEY.has_secret("")
    assert not KEY.has_secret("\udcff")


def test_the_secret_is_never_shown():
    assert "s3cret" not in repr(KEY)
