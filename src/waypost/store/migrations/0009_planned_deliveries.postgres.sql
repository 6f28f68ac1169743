-- A message with many recipients is accepted in one short transaction, which decides all of its deliveries. This table
-- holds them as a plan, until further short transactions store them as rows of `deliveries`.

CREATE TABLE planned_deliveries (
    message_id TEXT COLLATE "C" NOT NULL CONSTRAINT planned_deliveries_have_a_message REFERENCES messages (id),
    number     INTEGER NOT NULL,
    part       TEXT NOT NULL, -- JSON: the lines of Authentication-Results, and the deliveries
    CONSTRAINT planned_deliveries_in_order PRIMARY KEY (message_id, number)
);
