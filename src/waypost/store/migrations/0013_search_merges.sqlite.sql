-- The index of trigrams consists of segments, which must be merged from time to time. By default, FTS5 merges many pages
-- in one transaction, which then kept other writers waiting for up to 40 ms. Now each change of an entry merges two
-- pages, as soon as three segments have the same level.

INSERT INTO search_texts (search_texts, rank) VALUES ('automerge', 0);
INSERT INTO search_texts (search_texts, rank) VALUES ('usermerge', 3);
INSERT INTO search_texts (search_texts, rank) VALUES ('crisismerge', 500);

DROP TRIGGER search_texts_follow_insert;
CREATE TRIGGER search_texts_follow_insert AFTER INSERT ON search_entries BEGIN
    INSERT INTO search_texts (rowid, address, display_name, description)
    VALUES (new.number, new.address, new.display_name, new.description);
    INSERT INTO search_texts (search_texts, rank) VALUES ('merge', 2);
END;

DROP TRIGGER search_texts_follow_delete;
CREATE TRIGGER search_texts_follow_delete AFTER DELETE ON search_entries BEGIN
    INSERT INTO search_texts (search_texts, rowid, address, display_name, description)
    VALUES ('delete', old.number, old.address, old.display_name, old.description);
    INSERT INTO search_texts (search_texts, rank) VALUES ('merge', 2);
END;

DROP TRIGGER search_texts_follow_update;
CREATE TRIGGER search_texts_follow_update AFTER UPDATE ON search_entries BEGIN
    INSERT INTO search_texts (search_texts, rowid, address, display_name, description)
    VALUES ('delete', old.number, old.address, old.display_name, old.description);
    INSERT INTO search_texts (rowid, address, display_name, description)
    VALUES (new.number, new.address, new.display_name, new.description);
    INSERT INTO search_texts (search_texts, rank) VALUES ('merge', 2);
END;
