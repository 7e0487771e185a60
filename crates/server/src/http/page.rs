//! The status page, and its Content-Security-Policy.

/// HTML with its style and its script inside. The script fetches `/status.json` once a second.
pub(crate) const PAGE: &str = include_str!("status.html");

/// The page's Content-Security-Policy. It lets the browser run the page's own script and send requests to the page's
/// server, and nothing else, even if a name in the figures were a script.
pub(crate) const POLICY: &str = "default-src 'none'; \
    script-src 'sha256-thc4lCDON/HaFfY8IIyjuG0U/97/oojVf7fMdpQRPhQ='; \
    style-src 'sha256-qI3oWYVRXKl6eZlm9eNW081b/Of6hTpGQ2s1mqR0zBk='; \
    img-src data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine};
    use sha2::{Digest, Sha256};

    use super::{PAGE, POLICY};

    #[test]
    fn the_policy_knows_the_script_and_the_style_of_the_page() {
        for element in ["script", "style"] {
            let source = format!("{element}-src '{}'", hash_of_the_only(element));
            assert!(
                POLICY.split("; ").any(|directive| directive == source),
                "the policy has to say {source}"
            );
        }
    }

    #[test]
    fn nothing_in_the_page_is_what_the_policy_forbids() {
        let handlers = ["onclick=", "onload=", "onerror=", "style=\"", "javascript:"];
        let sinks = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("];
        let resources = ["src=", "@import", "url("];
        for forbidden in handlers.iter().chain(&sinks).chain(&resources) {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
    }

    /// The hash in the form that a policy has, of everything between the tags, spaces included.
    fn hash_of_the_only(element: &str) -> String {
        let (opening, closing) = (format!("<{element}>"), format!("</{element}>"));
        let [_, rest] = PAGE.split(&opening).collect::<Vec<_>>()[..] else { panic!("one {opening}") };
        let (contents, _) = rest.split_once(&closing).expect("it ends");
        format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(contents)))
    }
}
