-- Who may do what. Nobody logs in as one of these roles; whoever may, is made a member. Roles belong to all databases
-- of an engine, so they may be there already.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['letmein_owner', 'letmein_admin', 'letmein_server'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
    IF (SELECT rolcanlogin FROM pg_roles WHERE rolname = 'letmein_owner') THEN
        RAISE EXCEPTION 'letmein_owner can log in, and would own the users: ALTER ROLE letmein_owner NOLOGIN first';
    END IF;
    -- Only a member can give something to the owner; a superuser need not be one.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        GRANT letmein_owner TO CURRENT_USER;
    END IF;
END
$$;

ALTER SCHEMA letmein OWNER TO letmein_owner;
ALTER TABLE letmein.head OWNER TO letmein_owner;
ALTER TABLE letmein.changes OWNER TO letmein_owner;
ALTER TABLE letmein.users OWNER TO letmein_owner;
ALTER TABLE letmein.removed OWNER TO letmein_owner;
ALTER TABLE letmein.nodes OWNER TO letmein_owner;
ALTER FUNCTION letmein.take_revision OWNER TO letmein_owner;
ALTER FUNCTION letmein.before_change OWNER TO letmein_owner;
ALTER FUNCTION letmein.number_row OWNER TO letmein_owner;
ALTER FUNCTION letmein.note_removals OWNER TO letmein_owner;
ALTER FUNCTION letmein.refuse_truncate OWNER TO letmein_owner;

-- Triggers run without it; with it, anybody could make one of them a trigger of another table.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA letmein FROM PUBLIC;
GRANT USAGE ON SCHEMA letmein TO letmein_server, letmein_admin;

-- A server reads everything, and says how far it is.
GRANT SELECT ON ALL TABLES IN SCHEMA letmein TO letmein_server;
GRANT INSERT, UPDATE ON letmein.nodes TO letmein_server;

-- An administrator changes users; head, changes and removed follow by themselves.
GRANT SELECT, INSERT, UPDATE, DELETE ON letmein.users TO letmein_admin;
GRANT SELECT ON letmein.head, letmein.changes, letmein.removed, letmein.nodes TO letmein_admin;
GRANT EXECUTE ON FUNCTION letmein.take_revision TO letmein_admin;
