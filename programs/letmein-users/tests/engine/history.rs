//! What has been changed, how far nodes are, and what is forgotten.

use crate::{STRONG, Site, done};

/// The rows of a table, without its header and the times in it.
fn rows(table: &str) -> Vec<String> {
    let row =
        |line: &str| line.split_whitespace().filter(|it| !it.ends_with('Z')).collect::<Vec<_>>().join(" ");
    table.lines().skip(1).map(row).collect()
}

#[test]
fn changes_are_shown_with_the_newest_last() {
    let Some(site) = Site::new() else { return };
    for arguments in [
        &["add", "alice", "--generate"][..],
        &["add", "bob alice", "--generate"],
        &["rename", "alice", "zoe"],
        &["disable", "zoe"],
        &["remove", "zoe", "--yes"],
    ] {
        assert_eq!(site.run(arguments).0, 0, "{arguments:?}");
    }
    let admin = format!("admin_of_{}", site.database.name);
    let shown = |arguments: &[&str]| {
        let (status, stdout, stderr) = site.run(&[&["history"], arguments].concat());
        assert_eq!((status, &*stderr), (0, ""));
        rows(&stdout).join("\n").replace(&format!("{admin} letmein-users "), "")
    };
    assert_eq!(
        shown(&[]),
        "0 postgres letmein-users init\n1 add alice\n2 add bob alice\n3 rename alice to zoe\n4 disable zoe\n5 remove zoe"
    );
    assert_eq!(shown(&["--limit", "2"]), "4 disable zoe\n5 remove zoe");
    assert_eq!(shown(&["--limit", "0"]), "");
    assert_eq!(shown(&["alice"]), "1 add alice\n3 rename alice to zoe");
    assert_eq!(shown(&["zoe"]), "3 rename alice to zoe\n4 disable zoe\n5 remove zoe");
    assert_eq!(shown(&["zoe", "--limit", "1"]), "5 remove zoe");
    site.database.batch("UPDATE letmein.users SET disabled = true");
    assert_eq!(shown(&["bob alice"]), "2 add bob alice\n6 postgres test UPDATE");
    let (_, json, _) = site.run(&["history", "zoe", "--limit", "1", "--json"]);
    let (start, end) = json.split_once("\"at\":\"").unwrap();
    assert_eq!(start, "[{\"revision\":5,");
    assert!(end.ends_with(&format!(
        "Z\",\"actor\":\"{admin}\",\"program\":\"letmein-users\",\"what\":\"remove zoe\"}}]\n"
    )));
}

#[test]
fn a_history_of_any_length_is_shown_whole() {
    let Some(site) = Site::new() else { return };
    site.database.batch(
        "INSERT INTO letmein.changes SELECT it, gen_random_uuid(), now(), 'a', 'b', 'c' FROM generate_series(1, 12000) AS it",
    );
    let (_, stdout, _) = site.run(&["history"]);
    let revisions: Vec<_> =
        rows(&stdout).iter().map(|row| row.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(revisions, (0..=12_000).map(|it| it.to_string()).collect::<Vec<_>>());
}

#[test]
fn nodes_are_shown_with_how_far_they_are_behind() {
    let Some(site) = Site::new() else { return };
    assert_eq!(site.run(&["add", "alice", "--generate"]).0, 0);
    site.database.batch("INSERT INTO letmein.nodes VALUES ('two', 1, '2027-01-31T12:00:00Z'), ('one', 0, '2027-01-31T13:00:00+01'), ('lost', 3, '2027-01-31T12:00:00Z')");
    let table = "NAME  REVISION  BEHIND  SEEN\n\
                 lost  3         ahead   2027-01-31T12:00:00Z\n\
                 one   0         1       2027-01-31T12:00:00Z\n\
                 two   1         0       2027-01-31T12:00:00Z\n";
    assert_eq!(site.run(&["nodes"]), done(table));
    let json = "[{\"name\":\"lost\",\"revision\":3,\"behind\":-2,\"seen\":\"2027-01-31T12:00:00Z\"},\
                {\"name\":\"one\",\"revision\":0,\"behind\":1,\"seen\":\"2027-01-31T12:00:00Z\"},\
                {\"name\":\"two\",\"revision\":1,\"behind\":0,\"seen\":\"2027-01-31T12:00:00Z\"}]\n";
    assert_eq!(site.run(&["nodes", "--json"]), done(json));
}

/// Revisions 1 to 4, of which 2 and 4 have removed somebody, looked at by a member of the owner.
fn four_revisions() -> Option<Site> {
    let site = Site::new()?;
    let list = format!("alice:a{STRONG}\nbob:b{STRONG}\ncarol:c{STRONG}\n");
    assert_eq!(site.run_with_input(&["import", "-"], &list).0, 0);
    for arguments in [&["remove", "alice", "--yes"][..], &["disable", "carol"], &["remove", "bob", "--yes"]] {
        assert_eq!(site.run(arguments).0, 0, "{arguments:?}");
    }
    let owner = format!("owner_of_{}", site.database.name);
    site.database.batch(&format!("CREATE ROLE {owner} LOGIN IN ROLE letmein_owner"));
    site.log_in_as(&owner);
    Some(site)
}

/// What is left: the floor; the changes; the removals; the nodes.
fn left(site: &Site) -> String {
    [
        "SELECT ARRAY[floor] FROM letmein.head",
        "SELECT ARRAY[revision] FROM letmein.changes ORDER BY 1",
        "SELECT ARRAY[name] FROM letmein.removed ORDER BY revision",
        "SELECT ARRAY[name] FROM letmein.nodes ORDER BY 1",
    ]
    .map(|sql| site.database.query(sql))
    .join("; ")
}

#[test]
fn what_is_old_is_forgotten_and_nothing_that_is_younger() {
    let Some(site) = four_revisions() else { return };
    site.database.batch(
        "INSERT INTO letmein.nodes VALUES ('gone', 1, now() - interval '31 days'), ('here', 4, now())",
    );
    assert_eq!(site.run(&["engine", "purge", "--older-than", "40d"]), done("nothing to forget\n"));
    assert_eq!(left(&site), "0; 0, 1, 2, 3, 4; alice, bob; gone, here");
    site.database.batch("UPDATE letmein.changes SET at = now() - interval '29 days'");
    site.database.batch("UPDATE letmein.changes SET at = now() - interval '31 days' WHERE revision <= 2");
    let forgotten = "forgot 1 removal, 3 changes and 1 node; nodes below revision 2 will load all users\n";
    assert_eq!(site.run(&["engine", "purge"]), done(forgotten));
    assert_eq!(left(&site), "2; 3, 4; bob; here");
    assert_eq!(site.run(&["engine", "purge"]), done("nothing to forget\n"));
}

const ALL_OLD: &str = "UPDATE letmein.changes SET at = now() - interval '31 days'";

#[test]
fn the_newest_change_stays_however_old_it_is() {
    let Some(site) = four_revisions() else { return };
    site.database.batch(ALL_OLD);
    assert_eq!(site.run(&["engine", "purge"]).0, 0);
    assert_eq!(left(&site), "3; 4; bob; ");
    site.database.batch("UPDATE letmein.users SET disabled = false");
    site.database.batch(ALL_OLD);
    assert_eq!(site.run(&["engine", "purge"]).0, 0);
    assert_eq!(left(&site), "4; 5; ; ");
}

#[test]
fn an_old_change_after_a_younger_one_stays() {
    let Some(site) = four_revisions() else { return };
    site.database.batch("UPDATE letmein.changes SET at = now() - interval '31 days' WHERE revision <> 2");
    assert_eq!(site.run(&["engine", "purge"]).0, 0);
    assert_eq!(left(&site), "1; 2, 3, 4; alice, bob; ");
}

#[test]
fn many_revisions_are_forgotten_in_turn() {
    let Some(site) = four_revisions() else { return };
    site.database.batch(
        "INSERT INTO letmein.changes SELECT it, gen_random_uuid(), now(), 'a', 'b', 'c' FROM generate_series(5, 50000) AS it;
         UPDATE letmein.head SET revision = 50000",
    );
    site.database.batch(ALL_OLD);
    let forgotten =
        "forgot 2 removals, 50000 changes and 0 nodes; nodes below revision 49999 will load all users\n";
    assert_eq!(site.run(&["engine", "purge"]), done(forgotten));
    assert_eq!(left(&site), "49999; 50000; ; ");
}

/// Each transaction that forgets some of them shows the floor.
#[test]
fn many_removals_of_one_revision_are_forgotten_in_turn_below_a_floor_that_is_there_before() {
    let Some(site) = four_revisions() else { return };
    site.database.batch(
        "INSERT INTO letmein.removed SELECT it::text, 1 FROM generate_series(1, 50000) AS it;
         CREATE TABLE steps (floor bigint, gone bigint);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            $$ BEGIN
                INSERT INTO public.steps SELECT floor, (SELECT count(*) FROM gone) FROM letmein.head;
                RETURN NULL;
            END $$;
         CREATE TRIGGER note AFTER DELETE ON letmein.removed
            REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note()",
    );
    site.database.batch(ALL_OLD);
    assert!(site.run(&["engine", "purge"]).1.starts_with("forgot 50001 removals, "));
    let steps = "SELECT ARRAY[floor, gone] FROM steps ORDER BY gone DESC";
    assert_eq!(site.database.query(steps), "3 20000, 3 20000, 3 10001");
}

#[test]
fn an_age_has_a_unit_and_is_an_hour_or_more() {
    let Some(site) = four_revisions() else { return };
    site.database.batch(ALL_OLD);
    for age in ["30", "0d", "59m", "3600", "1d 1", ""] {
        let (status, _, stderr) = site.run(&["engine", "purge", "--older-than", age]);
        assert!(status == 2 && stderr.contains("at least 1h"), "{age}: {status} {stderr}");
    }
    assert_eq!(left(&site), "0; 0, 1, 2, 3, 4; alice, bob; ");
    for age in ["1h", "60m", "3600s", "1d"] {
        assert_eq!(site.run(&["engine", "purge", "--older-than", age]).0, 0, "{age}");
    }
    assert_eq!(left(&site), "3; 4; bob; ");
}

#[test]
fn a_node_whose_row_keeps_no_rule_is_shown_with_the_others() {
    let Some(site) = Site::new() else { return };
    site.database.batch(
        "ALTER TABLE letmein.nodes DROP CONSTRAINT nodes_check;
         INSERT INTO letmein.nodes VALUES ('one', 0, 'infinity'), ('two', 0, '2027-01-31T12:00:00Z')",
    );
    let table = "NAME  REVISION  BEHIND  SEEN\none   0         0       never\ntwo   0         0       2027-01-31T12:00:00Z\n";
    assert_eq!(site.run(&["nodes"]), done(table));
    assert!(site.run(&["nodes", "--json"]).1.contains("\"seen\":null},"));
}

#[test]
fn changes_of_a_user_are_those_of_which_letmein_users_tells_with_the_whole_name() {
    let Some(site) = Site::new() else { return };
    for what in [
        "import 2 users",
        "migrate 2 users",
        "undo alice",
        "disable alice",
        "passwd alice 2",
        "rename al to alice",
    ] {
        site.database.batch(&format!("SELECT letmein.take_revision(gen_random_uuid(), '{what}')"));
    }
    let shown = |name: &str| {
        let (_, stdout, _) = site.run(&["history", name]);
        rows(&stdout).join("\n").replace(" postgres test", "")
    };
    assert_eq!(shown("alice"), "4 disable alice\n6 rename al to alice");
    assert_eq!(shown("2 users"), "");
    assert_eq!(shown("alice 2"), "5 passwd alice 2");
    assert_eq!(shown("al"), "6 rename al to alice");
}
