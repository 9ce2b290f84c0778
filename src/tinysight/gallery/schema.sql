-- The tables of a gallery. A row of `items` is never changed: an item that is replaced gets a new `seq`, so that rows
-- behind one are new.
CREATE TABLE settings (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE items (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, label TEXT NOT NULL, vector BLOB,
    content TEXT NOT NULL, pixels TEXT NOT NULL, source TEXT NOT NULL, metadata TEXT NOT NULL, crc INTEGER NOT NULL
);
CREATE INDEX items_label ON items (label, id);
CREATE INDEX items_content ON items (content) WHERE content != '';
CREATE TABLE removed (n INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL);
CREATE TABLE operations (op INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE changes (
    n INTEGER PRIMARY KEY, op INTEGER NOT NULL, gone INTEGER NOT NULL, id TEXT NOT NULL, label TEXT, vector BLOB,
    content TEXT, pixels TEXT, source TEXT, metadata TEXT, crc INTEGER
);
CREATE INDEX changes_op ON changes (op, id);
CREATE TRIGGER item_comes AFTER INSERT ON items WHEN (SELECT value FROM settings WHERE key = 'op') IS NOT NULL BEGIN
    INSERT INTO changes (op, gone, id) VALUES ((SELECT value FROM settings WHERE key = 'op'), 0, new.id);
END;
CREATE TRIGGER item_goes AFTER DELETE ON items WHEN (SELECT value FROM settings WHERE key = 'op') IS NOT NULL BEGIN
    INSERT INTO changes (op, gone, id, label, vector, content, pixels, source, metadata, crc)
    VALUES ((SELECT value FROM settings WHERE key = 'op'), 1, old.id, old.label, old.vector, old.content, old.pixels, old.source, old.metadata, old.crc);
END;
CREATE TRIGGER row_goes AFTER DELETE ON items WHEN old.vector IS NOT NULL BEGIN
    INSERT INTO removed (seq) VALUES (old.seq);
END;
