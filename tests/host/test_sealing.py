"""Sealed secrets during a rotation of the key: which key reads them, and which key seals new ones."""

import pytest

from waypost.host.sealing import Keyring, SealBroken, SealKeys

OLD, NEW, THIRD = b"o" * 32, b"n" * 32, b"t" * 32


def test_before_the_first_rotation_a_sealed_secret_has_no_key_id_so_that_older_versions_can_read_it():
    sealed = Keyring(OLD).seal("secret", "AKIA1")
    assert len(sealed) == 12 + len("secret") + 16
    assert Keyring(OLD).unseal(sealed, "AKIA1") == "secret"
    assert not Keyring(OLD).is_newest(sealed)


def test_during_a_rotation_both_keys_can_read_and_the_given_key_seals():
    both = Keyring(SealKeys(NEW, OLD))
    of_old = Keyring(OLD).seal("secret", "AKIA1")
    of_new = both.seal("secret", "AKIA1", key_id=both.newest_id)
    assert both.unseal(of_old, "AKIA1") == both.unseal(of_new, "AKIA1") == "secret"
    assert [both.is_newest(each) for each in (of_old, of_new)] == [False, True]
    with pytest.raises(SealBroken, match="another master key"):
        Keyring(OLD).unseal(of_new, "AKIA1")
    assert Keyring(NEW).unseal(of_new, "AKIA1") == "secret"
    with pytest.raises(SealBroken):
        Keyring(NEW).unseal(of_new, "AKIA2")


def test_before_the_database_names_a_key_the_oldest_one_seals():
    sealed = Keyring(SealKeys(NEW, OLD)).seal("secret", "AKIA1")
    assert Keyring(OLD).unseal(sealed, "AKIA1") == "secret"


def test_a_previous_key_that_has_nothing_to_do_with_the_secrets_is_named_before_it_seals_any():
    sealed = Keyring(OLD).seal("secret", "AKIA1")
    with pytest.raises(SealBroken, match=r"The previous master key \(master\.key\.previous or .* nothing"):
        Keyring(SealKeys(OLD, THIRD)).unseal(sealed, "AKIA1")
    assert Keyring(SealKeys(THIRD, OLD)).unseal(sealed, "AKIA1") == "secret"


def test_a_key_that_is_not_known_is_looked_for_once_more():
    keys = [SealKeys(OLD)]
    ring = Keyring(keys[0], reread=lambda: keys[0])
    new = Keyring(NEW)
    sealed = new.seal("secret", "AKIA1", key_id=new.newest_id)
    with pytest.raises(SealBroken):
        ring.unseal(sealed, "AKIA1")
    with pytest.raises(SealBroken, match="a master key that this server does not have"):
        ring.seal("secret", "AKIA1", key_id=new.newest_id)
    keys[0] = SealKeys(NEW, OLD)
    assert ring.seal("secret", "AKIA1", key_id=new.newest_id)
    assert ring.unseal(sealed, "AKIA1") == "secret"


def test_a_reader_finds_a_new_key_by_itself():
    keys = [SealKeys(OLD)]
    ring = Keyring(keys[0], reread=lambda: keys[0])
    third = Keyring(THIRD)
    keys[0] = SealKeys(THIRD, OLD)
    assert ring.unseal(third.seal("secret", "AKIA1", key_id=third.newest_id), "AKIA1") == "secret"
    assert ring.unseal(Keyring(OLD).seal("secret", "AKIA1"), "AKIA1") == "secret"


def test_a_secret_without_a_key_id_can_begin_like_one_with_a_key_id(monkeypatch):
    ring = Keyring(OLD)
    monkeypatch.setattr("waypost.host.sealing.secrets.token_bytes", lambda _: b"\0WK1" + ring.newest_id)
    sealed = ring.seal("secret", "AKIA1")
    monkeypatch.undo()
    assert ring.unseal(sealed, "AKIA1") == "secret"
