//! What the protocol and the client need beneath them, so that neither gets a dependency that nobody has argued for.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeSet;
use std::process::Command;

/// Each package beneath the protocol, with the reason why it is there.
const BENEATH_THE_PROTOCOL: [(&str, &str); 18] = [
    ("block-buffer", "of digest"),
    ("bytemuck", "tables of atomics from zeroed memory"),
    ("cfg-if", "of md-5"),
    ("crypto-common", "of digest"),
    ("digest", "the traits of md-5"),
    ("hybrid-array", "of digest"),
    ("ipnet", "networks of `from`"),
    ("libc", "of memmap2"),
    ("md-5", "the digest of the protocol"),
    ("memmap2", "large pages"),
    ("rand", "jitter"),
    ("rand_core", "of rand"),
    ("safe_arch", "of wide"),
    ("siphasher", "challenges"),
    ("subtle", "comparison in constant time"),
    ("typenum", "of hybrid-array"),
    ("wide", "vectors of eight MD5"),
    ("zeroize", "passwords leave no copy"),
];
/// The client adds the protocol and the system's random numbers.
const BENEATH_THE_CLIENT_MAX: usize = 20;

/// The names of the packages beneath this one, as it is built for this system.
fn beneath(package: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "tree",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--offline",
        "--locked",
    ]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| *name != package).map(str::to_owned).collect()
}

#[test]
fn the_protocol_depends_on_nothing_but_what_is_argued_for() {
    let expected: BTreeSet<_> = BENEATH_THE_PROTOCOL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let found = beneath("letmein-auth-proto");
    let (new, gone): (Vec<_>, Vec<_>) =
        (found.difference(&expected).collect(), expected.difference(&found).collect());
    assert!(
        new.is_empty() && gone.is_empty(),
        "new beneath letmein-auth-proto: {new:?}; gone: {gone:?}. Do without what is new, or give it a line with its \
         reason in {}; delete the lines of what is gone.",
        file!()
    );
}

#[test]
fn the_client_depends_on_few_packages() {
    let found = beneath("letmein-auth-client");
    assert!(
        found.len() <= BENEATH_THE_CLIENT_MAX,
        "{} packages are beneath letmein-auth-client: {found:?}. Do without the new one, or raise the limit in {} and \
         say why.",
        found.len(),
        file!()
    );
}
