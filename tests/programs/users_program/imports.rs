//! Users from lists.

use crate::running::Ended;

use super::{Folder, STRONG, STRONG2, TEXT, not_done, text_with};

/// What is printed of an import, of passwords that may be weak.
fn imported(ended: Ended) -> String {
    assert_eq!(ended.status, 0, "{ended:?}");
    ended.stdout
}

#[test]
fn lines_are_imported_but_for_blank_ones_and_comments() {
    let folder = Folder::with(TEXT);
    let list = "# new\r\neve:hunter2secret:5\r\n\r\nfrank b: hunter2secret6 \n";
    assert_eq!(imported(folder.run_with_input(&["import", "-"], list)), "+2 users, 0 changed\n");
    let lines = "# hers\neve = \"hunter2secret:5\"\n\"frank b\" = \" hunter2secret6 \"\n";
    assert_eq!(folder.text(), text_with("# hers\n", lines));
}

#[test]
fn tables_are_imported_with_their_conditions() {
    let folder = Folder::with("[users]\n");
    let list = "password,name,from,disabled,expires\n\"hunter2,\"\"secret\",eve,10.0.0.0/8 ::1,true,2027-01-31\n\
                hunter2secret,frank,,false,\n";
    assert_eq!(imported(folder.run_with_input(&["import", "--csv", "-"], list)), "+2 users, 0 changed\n");
    assert_eq!(
        folder.text(),
        "[users]\neve = { password = 'hunter2,\"secret', disabled = true, expires = 2027-01-31, \
         from = [\"10.0.0.0/8\", \"::1\"] }\nfrank = \"hunter2secret\"\n"
    );
}

#[test]
fn what_is_doubtful_about_imported_passwords_is_told() {
    let folder = Folder::with("[users]\n");
    let list = format!("eve: {STRONG} \nfrank:{STRONG2}\ngrace:weak\n");
    let Ended { status, stdout, stderr } = folder.run_with_input(&["import", "-"], list);
    assert_eq!((status, &*stdout, stderr.lines().count()), (0, "+3 users, 0 changed\n", 2));
    assert!(stderr.contains("warning: the password of eve begins and ends with a space\n"), "{stderr}");
    assert!(stderr.contains("warning: the password of grace is weak: one GPU guesses it in "), "{stderr}");
    let again = folder.run_with_input(&["import", "--replace", "-"], "grace:weak\n");
    assert_eq!(imported(again), "+0 users, 0 changed\n");
    let list = format!("name,password,expires\nheidi,{STRONG}x,2001-01-31\n");
    let Ended { stderr, .. } = folder.run_with_input(&["import", "--csv", "-"], list);
    assert_eq!(stderr, "letmein-users: warning: 2001-01-31 is over: heidi is refused\n");
    let folder = Folder::with("[users]\n");
    let list: String = (0..13).map(|number| format!("user{number}:weak\n")).collect();
    let Ended { status, stderr, .. } = folder.run_with_input(&["import", "-"], list);
    assert_eq!((status, stderr.lines().count()), (0, 11));
    assert!(stderr.ends_with("letmein-users: warning: more such warnings are not shown\n"), "{stderr}");
}

#[test]
fn hashes_are_not_imported_as_passwords() {
    for hash in ["$2y$10$N9qo8uLOickgx2ZMRZoMye", "$apr1$abcd$efgh", "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="] {
        let folder = Folder::with(TEXT);
        let ended = folder.run_with_input(&["import", "-"], format!("eve:{hash}\n"));
        let reason = "standard input:1: the password looks like a hash, and clients need the password itself";
        assert_eq!(ended, not_done(2, reason));
        assert_eq!(folder.text(), TEXT);
    }
}

#[test]
fn an_empty_list_changes_nothing_and_is_told() {
    let folder = Folder::with(TEXT);
    for (args, list) in [(&["import", "-"][..], "# nobody\n"), (&["import", "--csv", "-"], "name,password\n")]
    {
        let warning = "letmein-users: warning: the list is empty\n";
        let expected = Ended { status: 0, stdout: "+0 users, 0 changed\n".into(), stderr: warning.into() };
        assert_eq!(folder.run_with_input(args, list), expected);
    }
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn a_list_of_another_format_is_told_with_what_it_looks_like() {
    let folder = Folder::with(TEXT);
    for (args, list, problem) in [
        (
            &["import", "-"][..],
            "root:x:0:0:root:/root:/bin/bash\n",
            "this looks like a passwd file, which has no passwords in it: write name:password",
        ),
        (&["import", "-"], "Name,Password\neve,hunter2secret\n", "this looks like a table: add --csv"),
        (
            &["import", "--csv", "-"],
            "name;password\neve;hunter2secret\n",
            "put commas, not semicolons, between columns",
        ),
    ] {
        let expected = not_done(2, &format!("standard input:1: {problem}"));
        assert_eq!(folder.run_with_input(args, list), expected);
    }
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn all_problems_of_a_list_are_told_and_nothing_is_imported() {
    let folder = Folder::with(TEXT);
    let list = "eve:hunter2secret\nhunter2secret\na\tb:hunter2secret\n\nfrank:\neve:hunter2secret\n";
    let Ended { status, stderr, .. } = folder.run_with_input(&["import", "-"], list);
    let places: Vec<_> = stderr.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(status, 2);
    assert_eq!(places, [2, 3, 5, 6].map(|line| format!("standard input:{line}")), "{stderr}");
    let list = "name,password,disabled,expires,from\neve,hunter2secret,yes,,\nfrank,hunter2secret,,2027-02-30,\n\
                grace,hunter2secret,,,office\nheidi,hunter2secret\nivan,,maybe,soon,10.0.0.0/8;::1\n";
    let Ended { status, stderr, .. } = folder.run_with_input(&["import", "--csv", "-"], list);
    assert_eq!((status, stderr.lines().count()), (2, 8), "{stderr}");
    for header in ["name", "name,password,colour", "name,password,name"] {
        let Ended { status, stderr, .. } = folder.run_with_input(&["import", "--csv", "-"], header);
        assert!(status == 2 && stderr.contains("standard input:1: "), "{stderr}");
    }
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn a_row_with_another_number_of_columns_is_told_with_the_columns() {
    let folder = Folder::with(TEXT);
    let list = "Password,name\nhunter2secret,eve\nhunter2,secret,frank\n";
    let expected = "standard input:3: there are 3 columns here, and 2 in the first row (password, name): put double \
                    quotes around a field with a comma in it";
    assert_eq!(folder.run_with_input(&["import", "--csv", "-"], list), not_done(2, expected));
    let Ended { stderr, .. } = folder.run_with_input(&["import", "--csv", "-"], "name,password\neve\n");
    assert!(
        stderr.ends_with(":2: there is 1 column here, and 2 in the first row (name, password)\n"),
        "{stderr}"
    );
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn a_list_that_is_not_utf8_is_refused_with_the_line() {
    let folder = Folder::with(TEXT);
    let ended = folder.run_with_input(&["import", "-"], b"eve:hunter2secret\nfrank:\xff\n");
    assert_eq!(ended, not_done(2, "standard input:2: this line is not UTF-8: save the list as UTF-8"));
    assert_eq!(folder.text(), TEXT);
}

#[test]
fn users_who_are_there_are_imported_only_to_replace_their_passwords() {
    let folder = Folder::with(TEXT);
    let list = "name,password,disabled\nbob,new,\neve,hunter2secret5,\n";
    let Ended { status, stderr, .. } = folder.run_with_input(&["import", "--csv", "-"], list);
    assert!(status == 2 && stderr.contains("standard input:2: there is a user bob already"), "{stderr}");
    assert_eq!(folder.text(), TEXT);
    let ended = folder.run_with_input(&["import", "--csv", "--replace", "-"], list);
    assert_eq!(imported(ended), "+1 user, 1 changed\n");
    let text = text_with("\"hunter2secret2\"", "\"new\"");
    assert_eq!(folder.text(), text.replace("# hers\n", "# hers\neve = \"hunter2secret5\"\n"));
}

#[test]
fn an_import_leaves_users_alone_whose_password_is_the_same() {
    let text = "[users]\nalice = { password = \"new\", old_password = \"old\", old_until = 2099-12-31 }\n";
    let folder = Folder::with(text);
    let ended = folder.run_with_input(&["import", "--replace", "-"], "alice:new\n");
    assert_eq!((&*imported(ended), &*folder.text()), ("+0 users, 0 changed\n", text));
    folder.run_with_input(&["import", "--replace", "-"], "alice:newer\n");
    assert_eq!(folder.text(), "[users]\nalice = { password = \"newer\" }\n");
}

#[test]
fn conditions_of_users_who_are_there_are_not_imported_and_not_lost() {
    let folder = Folder::with(TEXT);
    let list = "name,password,disabled,expires,from\nalice,new,true,,\neve,new2,true,,\nbob,new3,,,\n\
                carol,new4,,2027-01-31,\ndave,new5,,,::1\n";
    let Ended { status, stderr, .. } = folder.run_with_input(&["import", "--csv", "--replace", "-"], list);
    let places: Vec<_> = stderr.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(status, 2);
    assert_eq!(places, [2, 5, 6].map(|line| format!("standard input:{line}")), "{stderr}");
    assert!(stderr.contains("--replace changes only the password: "), "{stderr}");
    assert_eq!(folder.text(), TEXT);
}
