-- The mail of all inboxes of an account, newest first.

CREATE INDEX deliveries_kept ON deliveries (account, message_id, email_address_id) WHERE kept = 1;
