//! What the protocol and the client need beneath them, so that neither gets a dependency that nobody has argued for.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeSet;
use std::process::Command;

/// Each package beneath a client of MD5 alone, with the reason why it is there.
const BENEATH_MD5: [(&str, &str); 16] = [
    ("block-buffer", "of digest"),
    ("bytemuck", "of wide"),
    ("cfg-if", "of md-5"),
    ("crypto-common", "of digest"),
    ("digest", "the traits of md-5"),
    ("hybrid-array", "of digest"),
    ("ipnet", "networks of `from`"),
    ("md-5", "the digest of the protocol"),
    ("rand", "jitter"),
    ("rand_core", "of rand"),
    ("safe_arch", "of wide"),
    ("siphasher", "challenges"),
    ("subtle", "comparison in constant time"),
    ("typenum", "of hybrid-array"),
    ("wide", "vectors of eight MD5"),
    ("zeroize", "passwords leave no copy"),
];
/// Those that OPAQUE adds.
const BENEATH_OPAQUE: [(&str, &str); 28] = [
    ("argon2", "stretches passwords"),
    ("base16ct", "of elliptic-curve"),
    ("base64ct", "of password-hash"),
    ("blake2", "of argon2"),
    ("const-oid", "of der"),
    ("cpufeatures", "of curve25519-dalek and sha2"),
    ("crypto-bigint", "of elliptic-curve"),
    ("curve25519-dalek", "the group of the suite"),
    ("curve25519-dalek-derive", "of curve25519-dalek"),
    ("der", "of sec1"),
    ("derive-where", "of opaque-ke, when it is built"),
    ("displaydoc", "of opaque-ke, when it is built"),
    ("elliptic-curve", "of opaque-ke"),
    ("ff", "of elliptic-curve"),
    ("generic-array", "of digest 0.10"),
    ("group", "of elliptic-curve"),
    ("hkdf", "keys from a session key"),
    ("hmac", "tags of verdicts"),
    ("opaque-ke", "RFC 9807"),
    ("password-hash", "of argon2"),
    ("proc-macro2", "of macros, when they are built"),
    ("quote", "of macros, when they are built"),
    ("sec1", "of elliptic-curve"),
    ("sha2", "the hash of the suite"),
    ("syn", "of macros, when they are built"),
    ("unicode-ident", "of macros, when they are built"),
    ("voprf", "of opaque-ke"),
    ("zeroize_derive", "of zeroize, when it is built"),
];
/// Those that the server's side adds.
const BENEATH_SERVERS: [(&str, &str); 13] = [
    ("aead", "of chacha20poly1305"),
    ("chacha20", "of chacha20poly1305"),
    ("chacha20poly1305", "seals states"),
    ("cipher", "of chacha20"),
    ("inout", "of cipher"),
    ("libc", "of memmap2"),
    ("memmap2", "large pages"),
    ("opaque-debug", "of poly1305"),
    ("poly1305", "of chacha20poly1305"),
    ("ppv-lite86", "of rand_chacha"),
    ("rand_chacha", "what opaque-ke draws"),
    ("universal-hash", "of poly1305"),
    ("zerocopy", "of ppv-lite86"),
];
/// The client adds the protocol and the system's random numbers, and with OPAQUE the generator of what that draws.
const BENEATH_THE_CLIENT_MAX: usize = 20;

/// The names of the packages beneath this one with these features, as it is built for this system.
fn beneath(package: &str, features: &[&str]) -> BTreeSet<String> {
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
    cargo.args(features);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| *name != package).map(str::to_owned).collect()
}

#[test]
fn the_protocol_depends_on_nothing_but_what_is_argued_for() {
    let name = |(name, _): &(&str, &str)| (*name).to_owned();
    let md5: BTreeSet<_> = BENEATH_MD5.iter().map(name).collect();
    let opaque: BTreeSet<_> = BENEATH_OPAQUE.iter().map(name).chain(md5.clone()).collect();
    let servers: BTreeSet<_> = BENEATH_SERVERS.iter().map(name).chain(opaque.clone()).collect();
    let (none, only_opaque) = (["--no-default-features"], ["--no-default-features", "--features", "opaque"]);
    for (features, expected) in [(&none[..], md5), (&only_opaque, opaque), (&[], servers)] {
        let found = beneath("letmein-auth-proto", features);
        let (new, gone): (Vec<_>, Vec<_>) =
            (found.difference(&expected).collect(), expected.difference(&found).collect());
        assert!(
            new.is_empty() && gone.is_empty(),
            "new beneath letmein-auth-proto {features:?}: {new:?}; gone: {gone:?}. Do without what is new, or give it \
             a line with its reason in {}; delete the lines of what is gone.",
            file!()
        );
    }
}

#[test]
fn a_client_of_md5_alone_depends_on_few_packages() {
    let found = beneath("letmein-auth-client", &["--no-default-features"]);
    assert!(
        found.len() <= BENEATH_THE_CLIENT_MAX,
        "{} packages are beneath letmein-auth-client without OPAQUE: {found:?}. Do without the new one, or raise the limit in {} and \
         say why.",
        found.len(),
        file!()
    );
}

#[test]
fn only_a_letmein_users_for_postgresql_has_its_client_beneath() {
    for (package, features, expected) in [
        ("letmein-auth", &[][..], false),
        ("letmein-users", &[], false),
        ("letmein-users", &["--features", "engine"], true),
    ] {
        let found = beneath(package, features);
        assert_eq!(found.contains("tokio-postgres"), expected, "{package} {features:?}: {found:?}");
    }
}
