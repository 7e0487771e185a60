-- What servers tell each other about failed logins: the newest message of each, sealed, so that only servers can read
-- it. It is out of date within seconds. So the table is not logged: it is empty after a crash, and on a standby nobody
-- can read it.
CREATE UNLOGGED TABLE letmein.exchange (
    node text COLLATE "C" PRIMARY KEY,
    message bytea NOT NULL,
    seen timestamptz NOT NULL,
    CHECK (octet_length(node) BETWEEN 1 AND 260 AND octet_length(message) BETWEEN 1 AND 32768 AND isfinite(seen))
);
-- Each row changes once a second, and most are kept in pieces.
ALTER TABLE letmein.exchange SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 5000
);
-- What is sealed cannot be compressed.
ALTER TABLE letmein.exchange ALTER COLUMN message SET STORAGE EXTERNAL;
ALTER TABLE letmein.exchange OWNER TO letmein_owner;
GRANT SELECT, INSERT, UPDATE ON letmein.exchange TO letmein_server;
