-- Lists of all mail of an account, and of its refusals.

-- With the reason, so that a list of one reason is found in the index alone.
DROP INDEX deliveries_kept;
CREATE INDEX deliveries_kept ON deliveries (account, message_id, email_address_id, reason) WHERE kept = 1;
-- The deliveries that were only sent over a route. Mail for an inbox does not change this index.
CREATE INDEX deliveries_relayed ON deliveries (account, message_id, email_address_id, reason) WHERE kept = 0;

CREATE INDEX refusals_by_account ON refusals (account, number);
