-- Each piece of a message has a checksum, so that damage of its bytes is detected when they are read.
-- kind: transaction

-- NULL in pieces that older versions have stored: their checksum is not known. BIGINT, because CRC-32 is unsigned.
ALTER TABLE message_bodies ADD COLUMN checksum BIGINT;
