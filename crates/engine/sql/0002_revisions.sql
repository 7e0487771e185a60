-- What PostgreSQL itself does, so that SQL by hand cannot break the order of changes.

-- Which transaction has the revision of head. After a dump is restored elsewhere, a transaction may get the same number
-- again, but not at the same microsecond.
ALTER TABLE letmein.head
    ADD COLUMN taken_by xid8 NOT NULL DEFAULT '0',
    ADD COLUMN taken_at timestamptz NOT NULL DEFAULT '-infinity';

-- Takes the next revision for this transaction, unless it has one, and says which it has.
CREATE FUNCTION letmein.take_revision(mine uuid, what text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken bigint;
BEGIN
    UPDATE letmein.head
        SET revision = revision + 1, stamp = mine,
            taken_by = pg_current_xact_id(), taken_at = transaction_timestamp()
        WHERE (taken_by, taken_at) <> (pg_current_xact_id(), transaction_timestamp())
        RETURNING revision INTO taken;
    IF found THEN
        INSERT INTO letmein.changes
            VALUES (
                taken, mine, clock_timestamp(), session_user, current_setting('application_name'), left(what, 200)
            );
    ELSE
        SELECT revision INTO taken FROM letmein.head;
    END IF;
    RETURN taken;
END
$$;

-- Once for each statement and before it locks any user: taken for each row, revisions deadlock.
CREATE FUNCTION letmein.before_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM letmein.take_revision(gen_random_uuid(), TG_OP);
    RETURN NULL;
END
$$;
CREATE TRIGGER before_change BEFORE INSERT OR UPDATE OR DELETE ON letmein.users
    FOR EACH STATEMENT EXECUTE FUNCTION letmein.before_change();

-- Whatever revision somebody writes into a row, it gets that of the transaction. It runs as whoever changes the row, so
-- it needs no search_path of its own, which would take longer than all the rest.
CREATE FUNCTION letmein.number_row() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := (SELECT revision FROM letmein.head);
    RETURN NEW;
END
$$;
CREATE TRIGGER number_row BEFORE INSERT OR UPDATE ON letmein.users
    FOR EACH ROW EXECUTE FUNCTION letmein.number_row();

-- A name that is gone, by DELETE or for another name, leaves a tombstone; one that is there has none.
CREATE FUNCTION letmein.note_removals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID <> 'letmein.users'::regclass THEN
        RAISE EXCEPTION 'note_removals is for letmein.users, and for no other table';
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO letmein.removed
            SELECT before.name, head.revision FROM before, letmein.head
            WHERE NOT EXISTS (SELECT FROM letmein.users WHERE users.name = before.name)
            ON CONFLICT (name) DO UPDATE SET revision = excluded.revision;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        DELETE FROM letmein.removed USING after WHERE removed.name = after.name;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_inserts AFTER INSERT ON letmein.users
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION letmein.note_removals();
CREATE TRIGGER note_updates AFTER UPDATE ON letmein.users
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION letmein.note_removals();
CREATE TRIGGER note_deletes AFTER DELETE ON letmein.users
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION letmein.note_removals();

CREATE FUNCTION letmein.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE would remove users without telling the nodes: use DELETE';
END
$$;
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON letmein.users
    FOR EACH STATEMENT EXECUTE FUNCTION letmein.refuse_truncate();

-- Under session_replication_role = replica, too.
ALTER TABLE letmein.users
    ENABLE ALWAYS TRIGGER before_change,
    ENABLE ALWAYS TRIGGER number_row,
    ENABLE ALWAYS TRIGGER note_inserts,
    ENABLE ALWAYS TRIGGER note_updates,
    ENABLE ALWAYS TRIGGER note_deletes,
    ENABLE ALWAYS TRIGGER refuse_truncate;
