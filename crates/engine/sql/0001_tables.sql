-- Users and the order of their changes.
--
-- A transaction that changes users takes the lock on the only row of head, and with it the next revision, before any
-- other lock. It keeps the lock until it ends, so revisions are committed in their order and without gaps, and whoever
-- asks for what is newer than a revision misses nothing.

CREATE SCHEMA letmein;

-- The newest revision. The stamp names the history that led to it: another engine, or one that has lost transactions,
-- may come to the same number, but not to the same stamp. Removals up to floor may be forgotten. A program that knows
-- only versions below min_reader must not use it.
CREATE TABLE letmein.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL,
    stamp uuid NOT NULL,
    floor bigint NOT NULL,
    schema_version int NOT NULL,
    min_reader int NOT NULL
);

-- Who made each revision. By its stamp a writer that has lost the connection learns whether its change was made, and
-- none is made twice.
CREATE TABLE letmein.changes (
    revision bigint PRIMARY KEY,
    stamp uuid NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    program text NOT NULL,
    what text NOT NULL,
    CONSTRAINT changes_stamp UNIQUE (stamp)
);

-- Names and passwords keep the rules of the protocol: 64 and 128 bytes; in names no colon, no control character, and
-- no white space of Unicode at either end. Records of OPAQUE are shorter than 320 bytes; later ones may be longer.
CREATE TABLE letmein.users (
    name text COLLATE "C" PRIMARY KEY,
    password text COLLATE "C",
    opaque text COLLATE "C",
    disabled boolean NOT NULL DEFAULT false,
    expires date,
    networks cidr[],
    revision bigint NOT NULL,
    CONSTRAINT users_name_length CHECK (octet_length(name) BETWEEN 1 AND 64),
    CONSTRAINT users_name_colon CHECK (position(':' IN name) = 0),
    CONSTRAINT users_name_control CHECK (name !~ '[\u0001-\u001f\u007f-\u009f]'),
    CONSTRAINT users_name_space CHECK (
        name = btrim(name, E' \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')
    ),
    CONSTRAINT users_password_length CHECK (octet_length(password) BETWEEN 1 AND 128),
    CONSTRAINT users_opaque_start CHECK (opaque LIKE '$opaque-3dh$%'),
    CONSTRAINT users_opaque_length CHECK (octet_length(opaque) <= 512),
    CONSTRAINT users_password_or_opaque CHECK ((password IS NULL) <> (opaque IS NULL)),
    CONSTRAINT users_expires_since_1970 CHECK (expires BETWEEN '1970-01-01' AND '9999-12-31'),
    CONSTRAINT users_networks_length CHECK (cardinality(networks) BETWEEN 1 AND 64),
    CONSTRAINT users_networks_flat CHECK (array_ndims(networks) = 1),
    CONSTRAINT users_networks_null CHECK (array_position(networks, NULL) IS NULL)
);
CREATE INDEX users_revision ON letmein.users (revision, name);
-- Two users with the same name and password, written together, have the same digest for every challenge: each could log
-- in as the other. It is a hash, since PostgreSQL shows what is there twice.
CREATE UNIQUE INDEX users_login ON letmein.users (md5(name || password)) WHERE password IS NOT NULL;
-- The few names that may not be in the form in which clients send them, so that they are found by that form.
CREATE INDEX users_abnormal ON letmein.users (name) WHERE name IS NOT NFKC NORMALIZED;
-- Whether there is any record is asked before each change. A column of two values makes the smallest index.
CREATE INDEX users_with_record ON letmein.users (disabled) WHERE opaque IS NOT NULL;

-- Tombstones. They are not among the users, so that those can be counted, and a removed name be inserted again.
CREATE TABLE letmein.removed (
    name text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL
);
CREATE INDEX removed_revision ON letmein.removed (revision, name);

-- What each node says of itself: the revision that it serves.
CREATE TABLE letmein.nodes (
    name text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL,
    seen timestamptz NOT NULL,
    CHECK (octet_length(name) BETWEEN 1 AND 255 AND revision >= 0 AND isfinite(seen))
);

INSERT INTO letmein.head VALUES (true, 0, gen_random_uuid(), 0, 0, 0);
INSERT INTO letmein.changes SELECT revision, stamp, now(), current_user, 'letmein-users', 'init' FROM letmein.head;
