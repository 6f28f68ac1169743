-- What belongs to which account: whose a refusal was, and whose a domain is.

-- The account that owned the address then; empty if nobody did.
ALTER TABLE refusals ADD COLUMN account TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE refusals SET account = e.account
FROM email_addresses AS e WHERE e.address_key = recipient_key AND e.created_at <= refusals.at;

-- The domain is what follows the one @ of a key. An index, and no table, so that a server of the version before keeps it.
CREATE INDEX email_addresses_by_domain ON email_addresses (split_part(address_key, '@', 2), account);
