//! The tables of docs/PROTOCOL.md, against the constants.

use letmein_auth_proto::opaque::session::{KE3_LEN, TAG_LEN};
use letmein_auth_proto::opaque::stretching::STRETCHING_LEN;
use letmein_auth_proto::opaque::wire::{
    BEGIN_LEN, CHALLENGE_MESSAGE_LEN, ECHO_LEN, FINISH_LEN, KE1_LEN, KE2_LEN, OFFER_LEN, REQUEST_LEN,
    STATE_LEN, VERDICT_LEN,
};

/// The cells of each row of the part on OPAQUE that has this many.
fn rows(cells: usize) -> Vec<Vec<String>> {
    let document = include_str!("../../../../docs/PROTOCOL.md");
    let part = document.split("## The second mechanism: OPAQUE").nth(1).unwrap();
    let cells_of = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows =
        part.lines().take_while(|line| !line.starts_with("### ")).filter(|line| line.starts_with("| "));
    rows.map(cells_of).filter(|row| row.len() == cells).collect()
}

/// The length of a message by its name.
fn len(message: &str) -> usize {
    match message {
        "REQUEST" => REQUEST_LEN,
        "CHALLENGE" | "AGAIN" | "CHALLENGE, AGAIN" => CHALLENGE_MESSAGE_LEN,
        "BEGIN" => BEGIN_LEN,
        "OFFER" => OFFER_LEN,
        "FINISH" => FINISH_LEN,
        "VERDICT" => VERDICT_LEN,
        other => panic!("{other:?} is no message"),
    }
}

#[test]
fn the_lengths_of_messages_are_those_of_the_document() {
    let kinds: Vec<_> = rows(4).into_iter().filter(|row| row[0].parse::<u8>().is_ok()).collect();
    assert_eq!(kinds.len(), 7);
    for (number, row) in kinds.iter().enumerate() {
        assert_eq!(row[0], format!("{number:02}"));
        assert_eq!(row[2], len(&row[1]).to_string(), "{}", row[1]);
    }
}

#[test]
fn the_fields_of_each_message_in_the_document_fill_it_and_have_the_lengths_of_the_constants() {
    let mut end = ("", 6);
    let fields: Vec<_> = rows(4).into_iter().filter(|row| row[1].parse::<usize>().is_ok()).collect();
    assert_eq!(fields.len(), 17);
    for row in &fields {
        let (message, offset, bytes): (_, usize, usize) =
            (&*row[0], row[1].parse().unwrap(), row[2].parse().unwrap());
        if message != end.0 {
            assert!(end.0.is_empty() || end.1 == len(end.0), "{} ends at {}", end.0, end.1);
            end = (message, 6);
        }
        assert_eq!(offset, end.1, "{row:?}");
        end.1 = offset + bytes;
        let constant = match row[3].split([':', ' ']).next().unwrap() {
            "KE1" => KE1_LEN,
            "KE2" => KE2_LEN,
            "KE3" => KE3_LEN,
            "state" => STATE_LEN,
            "stretching" => STRETCHING_LEN,
            "tag" => TAG_LEN,
            "the" if row[3].contains("nonce") => ECHO_LEN,
            "the" => STATE_LEN,
            _ => bytes,
        };
        assert_eq!(bytes, constant, "{row:?}");
    }
    assert_eq!(end.1, len(end.0));
}
