-- What rules and lists need to know of a delivery has columns: which bounces came for it, and why it was given up. The
-- trace was searched for that until now; what it says of mail that is here already is taken from it once.

ALTER TABLE deliveries ADD COLUMN bounces INTEGER NOT NULL DEFAULT 0; -- how many were taken for it
ALTER TABLE deliveries ADD COLUMN bounces_of_failure INTEGER NOT NULL DEFAULT 0; -- how many of them said that it failed
ALTER TABLE deliveries ADD COLUMN given_up_at INTEGER; -- the last time
ALTER TABLE deliveries ADD COLUMN given_up_because TEXT NOT NULL DEFAULT '';

UPDATE deliveries SET bounces = found.bounces, bounces_of_failure = found.of_failure
FROM (
    SELECT message_id, json_extract(detail, '$.address') AS address, count(*) AS bounces,
           total(json_extract(detail, '$.action') = 'failed') AS of_failure
    FROM trace_events WHERE kind = 'late bounce' GROUP BY 1, 2
) AS found
WHERE found.message_id = deliveries.message_id AND found.address = deliveries.address;

-- Of several times the last one counts: with max(), SQLite takes the other columns from the row that has it. A reason
-- with an unpaired surrogate, which Python cannot read, is left out; in UTF-8 its octets begin with ED A0 to ED BF.
UPDATE deliveries SET
    given_up_at = found.at,
    given_up_because = CASE WHEN EXISTS (
        WITH surrogates (octets) AS (VALUES
            (x'EDA0'), (x'EDA1'), (x'EDA2'), (x'EDA3'), (x'EDA4'), (x'EDA5'), (x'EDA6'), (x'EDA7'),
            (x'EDA8'), (x'EDA9'), (x'EDAA'), (x'EDAB'), (x'EDAC'), (x'EDAD'), (x'EDAE'), (x'EDAF'),
            (x'EDB0'), (x'EDB1'), (x'EDB2'), (x'EDB3'), (x'EDB4'), (x'EDB5'), (x'EDB6'), (x'EDB7'),
            (x'EDB8'), (x'EDB9'), (x'EDBA'), (x'EDBB'), (x'EDBC'), (x'EDBD'), (x'EDBE'), (x'EDBF')
        )
        SELECT 1 FROM surrogates WHERE instr(CAST(found.because AS BLOB), octets)
    ) THEN '' ELSE substr(found.because, 1, 1000) END
FROM (
    SELECT message_id, json_extract(detail, '$.address') AS address, max(number), at,
           coalesce(json_extract(detail, '$.because'), '') AS because
    FROM trace_events WHERE kind = 'dead' GROUP BY 1, 2
) AS found
WHERE found.message_id = deliveries.message_id AND found.address = deliveries.address;
