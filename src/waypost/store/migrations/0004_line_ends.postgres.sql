-- How lines end in a Maildir, in the words of the setting.

ALTER TABLE routes ADD COLUMN line_ends TEXT NOT NULL DEFAULT 'lf';
