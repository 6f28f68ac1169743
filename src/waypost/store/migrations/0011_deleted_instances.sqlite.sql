-- An instance is deleted at once by a mark. The rows of its email addresses are removed afterwards, in steps.

ALTER TABLE instances ADD COLUMN deleted_at INTEGER; -- NULL unless the instance is deleted
CREATE INDEX instances_deleted ON instances (id) WHERE deleted_at IS NOT NULL;

-- By instance, so that the owner of a domain is found without reading the rows of a deleted instance one by one.
DROP INDEX email_addresses_by_domain;
CREATE INDEX email_addresses_by_domain ON email_addresses
    (substr(address_key, instr(address_key, '@') + 1), instance_id);
