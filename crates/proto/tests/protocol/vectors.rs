//! The vectors of docs/PROTOCOL.md, from that file.

use letmein_auth_proto::challenge::Challenge;

use crate::digest;

#[test]
fn every_vector_in_the_document_has_its_digest() {
    let document = include_str!("../../../../docs/PROTOCOL.md");
    let rows = document.lines().skip_while(|line| !line.starts_with("| vector |")).skip(2);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, user, password, challenge, expected] = cells[..] else { panic!("{row}") };
        let challenge = Challenge::from_digits(challenge.as_bytes()).unwrap();
        assert_eq!(digest(user, password, challenge).to_string(), expected, "{row}");
    }
}
