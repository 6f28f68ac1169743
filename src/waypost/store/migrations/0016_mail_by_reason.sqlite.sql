-- Each list of mail reads its page from an index, also if mail of its kind is rare.

-- For the mail of an account, by reason. It replaces two indexes, of which each delivery was in one. So mail is accepted
-- at the same cost.
CREATE INDEX deliveries_by_reason ON deliveries (account, reason, message_id, email_address_id);
DROP INDEX deliveries_kept;
DROP INDEX deliveries_relayed;

-- With the reason, so that a list of one reason is found in the index alone.
DROP INDEX deliveries_by_address;
CREATE INDEX deliveries_by_address ON deliveries (account, address_key, message_id, kept, reason);
