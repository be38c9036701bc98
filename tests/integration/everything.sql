-- What a database may hold, one of each that a dump, a restore or a digest could get wrong.
CREATE SCHEMA app;
CREATE SCHEMA "Od d.sch""ema";
CREATE EXTENSION hstore SCHEMA public;
CREATE EXTENSION pg_trgm SCHEMA public;
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'it''s');
ALTER TYPE app.mood ADD VALUE 'meh' BEFORE 'ok';
CREATE DOMAIN app.small AS int CHECK (VALUE < 100000000);
CREATE TYPE app.pair AS (a int, b text);
CREATE TABLE app.items (
    gone int, x bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text, doc jsonb, mood app.mood,
    tags public.hstore, price money, f float8, r real, at timestamptz, span interval, raw bytea, small app.small,
    pair app.pair, n numeric, d date, list text[], kind varchar(10) CHECK (kind IN ('a', 'b')),
    twice float8 GENERATED ALWAYS AS (f * 2) STORED, relation regclass
);
ALTER TABLE app.items DROP COLUMN gone;
INSERT INTO app.items (body, doc, mood, tags, price, f, r, at, span, raw, small, pair, n, d, list, kind, relation)
    SELECT repeat(md5(g::text), g % 200), jsonb_build_object('g', g, 'x', md5(g::text)),
           (ARRAY['sad', 'ok', 'it''s', 'meh'])[1 + g % 4]::app.mood, public.hstore('k', g::text), g * 1.1,
           CASE WHEN g % 7 = 0 THEN 'NaN' ELSE g / 3.0 END, g / 7.0,
           timestamptz '2026-01-01 00:00Z' + g * interval '1 minute', g * interval '1 hour 3 days',
           decode(md5(g::text), 'hex'), g, row(g, 'b,"')::app.pair, g / 9.0, date '0044-03-15 BC' + g,
           ARRAY['a', NULL, g::text], 'a', 'app.items'
    FROM generate_series(1, 3000) AS g;
CREATE INDEX ON app.items USING gin (body public.gin_trgm_ops);
CREATE UNIQUE INDEX ON app.items (lower(body), x) WHERE x > 10;
CREATE TABLE app.x (x text, "qu""ote
line%s" int);
INSERT INTO app.x VALUES ('a,b(c)', 1), (NULL, NULL), ('', 2);
CREATE TABLE app.nothing ();
INSERT INTO app.nothing DEFAULT VALUES;
CREATE TABLE "Od d.sch""ema"."ta, ble
'; DROP" (a int);
INSERT INTO "Od d.sch""ema"."ta, ble
'; DROP" VALUES (1);
-- A restore puts the columns of such a child in another order.
CREATE TABLE app.parent (a int);
CREATE TABLE app.child (z text) INHERITS (app.parent);
INSERT INTO app.child VALUES (1, 'z');
ALTER TABLE app.parent ADD COLUMN b int DEFAULT 7;
CREATE TABLE app.parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM (0) TO (1000);
CREATE TABLE app.parts_2 (v text, id int NOT NULL);
ALTER TABLE app.parts ATTACH PARTITION app.parts_2 FOR VALUES FROM (1000) TO (2000);
INSERT INTO app.parts SELECT g, 'v' || g FROM generate_series(1, 1999) AS g;
CREATE TABLE app.refers (id int REFERENCES app.parts (id));
INSERT INTO app.refers VALUES (5), (1500);
CREATE UNLOGGED TABLE app.unlogged (a int);
INSERT INTO app.unlogged VALUES (1);
CREATE SEQUENCE app.down INCREMENT -3 MINVALUE -9999 MAXVALUE 100 START 100;
SELECT nextval('app.down'), nextval('app.down');
CREATE SEQUENCE app.unused;
CREATE SEQUENCE app.set;
SELECT setval('app.set', 77, false);
CREATE VIEW app.seen AS SELECT x, body FROM app.items WHERE kind = 'a';
CREATE MATERIALIZED VIEW app.moods AS SELECT mood, count(*) FROM app.items GROUP BY mood;
CREATE UNIQUE INDEX ON app.moods (mood);
CREATE MATERIALIZED VIEW app.empty AS SELECT 1 AS a WITH NO DATA;
CREATE FUNCTION app.more(a int) RETURNS int LANGUAGE sql AS $$ SELECT a + 1 $$;
CREATE FUNCTION app.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER keeps BEFORE INSERT ON app.parts FOR EACH ROW EXECUTE FUNCTION app.keep();
CREATE TABLE app.secured (a int, who text);
ALTER TABLE app.secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.secured USING (who = current_user);
INSERT INTO app.secured VALUES (1, 'x');
CREATE RULE stays AS ON DELETE TO app.x DO INSTEAD NOTHING;
CREATE STATISTICS app.together ON x, f FROM app.items;
CREATE COLLATION app.german (provider = icu, locale = 'de');
CREATE TABLE app.words (t text COLLATE app.german);
INSERT INTO app.words VALUES ('ä');
SET client_min_messages = error;
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert');
RESET client_min_messages;
SELECT lo_from_bytea(0, decode(repeat(md5(g::text), 500), 'hex')) FROM generate_series(1, 50) AS g;
SELECT lo_from_bytea(424242, '\x00000000');
-- With a hole, which a restore fills.
DO $$
DECLARE file int;
BEGIN
    PERFORM lo_create(434343);
    file := lo_open(434343, 131072);
    PERFORM lo_lseek(file, 20000, 0);
    PERFORM lowrite(file, '\x010200');
END $$;
CREATE TABLE app.owned (a int);
ALTER TABLE app.owned OWNER TO plain;
GRANT SELECT ON app.items TO plain;
-- Not dumped: an index that is not valid.
CREATE INDEX broken ON app.words (t);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.broken'::regclass;
