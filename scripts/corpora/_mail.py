"""The mail in the tests of other projects, and in Python's own tests of `email`."""

import sysconfig
from pathlib import Path

from scripts.corpora._fetched import Sdist

FLUFL = Sdist("flufl.bounce", "6.0.0", "a1df16b9d1877ae4536f7d76c00d8421fcefbe694f80f5285d05c45a2547b1bc")

SDISTS = (
    FLUFL,
    Sdist("mail-parser", "4.8.0", "602e659b159652d378b0f9cce2d682bee692bedae72687786e2b2e52eaeb9afc"),
    Sdist("lamson", "1.3.4", "253edf385ae54606579b6b717adf5edcd9df47f9a1d488aa61b9e9f42587d37d"),
    Sdist("talon", "1.4.4", "263d122609747691e9f75726ea565f5da8a40146a7a81eb5883e51b8224b0e5c"),
    Sdist("HyperKitty", "1.3.5", "8269222bca481dfb9b6dbc4d766fc3e8bda8ef6d85a6dc5880835874850e9f86"),
    Sdist("mailman", "3.3.5", "9fb38d9b516d9fdeb9c9f961a7630330cda46c490b91defc94b2c16683eeaf8a"),
    Sdist("django-mailbox", "4.10.1", "9060a4ddc81d16aa699e266649c12eaf4f29671b5266352e2fad3043a6832b52"),
)
"""Projects that have complete messages in their tests."""

PYTHON = Path(sysconfig.get_path("stdlib")) / "test" / "test_email" / "data"
"""The directory with the data of Python's own tests of `email`, if they are installed."""
