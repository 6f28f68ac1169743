"""The checksum of a piece of a message: each flipped bit, and a piece in the wrong place, is noticed."""

from waypost.domain.mail import checksums

OCTETS = b"Subject: hello\r\n\r\nHello.\r\n"
ID = "019ad0c5-0000-7000-8000-000000000001"


def test_a_piece_has_its_own_checksum_in_any_form():
    checksum = checksums.of_piece(ID, 7, OCTETS)
    assert 0 <= checksum < 2**32
    assert checksum == checksums.of_piece(ID, 7, memoryview(b"..." + OCTETS)[3:])
    assert checksums.fits(checksum, ID, 7, OCTETS)


def test_each_flipped_bit_is_noticed():
    checksum = checksums.of_piece(ID, 0, OCTETS)
    for bit in range(8 * len(OCTETS)):
        flipped = bytearray(OCTETS)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not checksums.fits(checksum, ID, 0, bytes(flipped))


def test_a_piece_in_the_place_of_another_is_noticed():
    checksum = checksums.of_piece(ID, 0, OCTETS)
    assert not checksums.fits(checksum, ID, 1, OCTETS)
    assert not checksums.fits(checksum, ID[:-1] + "2", 0, OCTETS)


def test_a_shorter_or_longer_piece_and_a_value_of_another_type_are_noticed():
    checksum = checksums.of_piece(ID, 0, OCTETS)
    for other in (b"", OCTETS[:-1], OCTETS + b"\0", OCTETS.decode(), 5, None):
        assert not checksums.fits(checksum, ID, 0, other)


def test_a_piece_of_an_older_version_has_no_checksum_to_compare():
    assert checksums.fits(None, ID, 0, OCTETS)
