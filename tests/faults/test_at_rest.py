"""Files are damaged by a seed."""

import pytest

from faults import at_rest


@pytest.fixture
def directory(tmp_path):
    for name in at_rest.TARGETS:
        (tmp_path / name).write_bytes(bytes(10_000))
    return tmp_path


def test_each_seed_damages_one_file_as_it_says_and_the_same_seed_does_the_same(directory):
    kinds = set()
    for seed in range(40):
        results = []
        for _ in range(2):
            for name in at_rest.TARGETS:
                (directory / name).write_bytes(bytes(10_000))
            done = at_rest.damage(directory, seed)
            octets = {name: (directory / name).read_bytes() for name in at_rest.TARGETS}
            results.append((done, octets))
        assert results[0] == results[1]
        changed = octets.pop(done.file)
        assert set(octets.values()) == {bytes(10_000)}
        if done.truncated_to is not None:
            assert changed == bytes(done.truncated_to)
        else:
            assert tuple(place for place, octet in enumerate(changed) if octet) == done.flipped
            assert all(octet.bit_count() == 1 for octet in changed if octet)
        kinds.add((done.file, done.truncated_to is None))
    assert len(kinds) == 6


def test_only_existing_files_can_be_damaged(directory):
    assert at_rest.damage(directory, 1, targets=("master.key",)).file == "master.key"
    with pytest.raises(FileNotFoundError, match="has none of other"):
        at_rest.damage(directory, 1, targets=("other",))
