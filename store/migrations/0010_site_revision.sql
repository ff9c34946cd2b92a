-- Which description counts, and whether it is still the one that somebody works by, is told by a
-- number: the clock may be set back, or show two descriptions the same time.

ALTER TABLE site ADD COLUMN revision bigint NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE;
COMMENT ON COLUMN site.revision IS 'another one each time a description is saved; the highest counts';
UPDATE site SET revision = DEFAULT
WHERE id = (SELECT id FROM site ORDER BY saved_at DESC, id LIMIT 1);
