//! The status page in a browser: a real server's figures, as somebody sees them who looks at it.

use proto::transport::Transport::Udp;

use crate::browser::Browser;
use crate::monitoring::{http_address, watched};
use crate::opaque_logins::Site;
use crate::running::{Server, refused, welcome};

/// The contrast of each text with what is behind it, and of what a chart is drawn with; as the guidelines of WCAG
/// define it.
const CONTRASTS: &str = "(() => {
    const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const linear = (channel) => channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
    const luminance = (colour) => {
        const [red, green, blue] = numbers(colour).map((channel) => linear(channel / 255));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const paper = luminance(getComputedStyle(document.body).backgroundColor);
    const contrast = (colour) => {
        const ink = luminance(colour);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    };
    const texts = [...document.querySelectorAll('body *')].filter((element) => element.innerText);
    return {
        texts: Math.min(...texts.map((element) => contrast(getComputedStyle(element).color))),
        charts: Math.min(...[...document.querySelectorAll('path')].map((path) => contrast(getComputedStyle(path).fill))),
    };
})()";

#[test]
fn the_page_follows_the_logins_without_being_loaded_again_and_asks_nobody_but_its_server() {
    let Some(mut browser) = Browser::start() else { return };
    let (server, url) = server_with_page(&["--http-reasons"]);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    open(&mut browser, &url);
    assert_eq!(browser.evaluate("document.title"), format!("server-udp {}", server.address));
    assert_eq!(browser.text("users"), "3");
    browser.wait_until(&format!("{} === '1'", figure("totals", "logins")));

    browser.evaluate(
        "window.rates = [];
        const note = () => rates.push(Number(document.getElementById('login-rate').textContent));
        new MutationObserver(note).observe(document.getElementById('login-rate'), {childList: true});",
    );
    assert_eq!(server.login(&["usertwo", "passwordtwo"]), welcome());
    assert_eq!(server.login(&["userone", "wrong"]), refused());
    browser.wait_until(&format!("{} === '2'", figure("totals", "logins")));
    browser.wait_until(&format!("{} === '1'", figure("totals", "refusals")));
    browser.wait_until(&format!("{} === '1'", figure("reasons", "wrong password")));
    browser.wait_until("rates.some((rate) => rate > 0)");
    browser.wait_until("!document.getElementById('refusals').ariaLabel.includes(': 0 in the last hour')");

    assert_eq!(browser.complaints(), [] as [&serde_json::Value; 0]);
    assert_eq!(browser.requests(), [url.clone(), format!("{url}status.json")]);
}

#[test]
fn the_page_has_logins_by_opaque_once_there_are_any() {
    let Some(mut browser) = Browser::start() else { return };
    let site = Site::new();
    let mut server = site.serve_with(Udp, &["--http", "127.0.0.1:0"]);
    let http = http_address(&mut server);
    open(&mut browser, &format!("http://{http}/"));
    let is_hidden = "document.getElementById('opaque-section').hidden";
    assert_eq!(site.login(&server, &["carol", "right"]), welcome());
    browser.wait_until(&format!("{} === '1'", figure("totals", "logins")));
    assert_eq!(browser.evaluate(is_hidden), true);

    let login = |password| site.login(&server, &["alice", password, "--mechanism", "opaque"]);
    assert_eq!((login("right"), login("wrong")), (welcome(), refused()));
    browser.wait_until(&format!("{} === '2'", figure("opaque", "offers")));
    browser.wait_until(&format!("{} === '1'", figure("opaque", "logins")));
    assert_eq!(browser.evaluate(is_hidden), false);
    assert_eq!(browser.complaints(), [] as [&serde_json::Value; 0]);
}

#[test]
fn the_page_says_that_the_server_does_not_answer_and_recovers_by_itself() {
    let Some(mut browser) = Browser::start() else { return };
    let (server, url) = server_with_page(&[]);
    open(&mut browser, &url);
    server.signal(libc::SIGSTOP);
    browser.wait_until("state.textContent.startsWith('the server does not answer (since ')");
    assert_eq!(browser.text("login-rate"), "–");
    assert_eq!(browser.text("users"), "3");
    assert_eq!(browser.evaluate("document.getElementById('reasons-section').hidden"), true);
    server.signal(libc::SIGCONT);
    browser.wait_until("state.textContent === 'serving'");
    server.stop(libc::SIGTERM);
    browser.wait_until("state.textContent.startsWith('the server does not answer (since ')");
}

#[test]
fn the_page_can_be_read_on_a_telephone_in_the_light_and_in_the_dark_and_used_with_keys() {
    let Some(mut browser) = Browser::start() else { return };
    let (_server, url) = server_with_page(&[]);
    browser.resize(320, 640);
    open(&mut browser, &url);

    let mut reached = Vec::new();
    for _ in 0..4 {
        browser.press("Tab", 9);
        assert_ne!(browser.evaluate("getComputedStyle(document.activeElement).outlineStyle"), "none");
        reached.push(browser.evaluate("document.activeElement.textContent"));
    }
    assert_eq!(reached, ["The last hour as a table", "status.json", "metrics", "healthz"]);
    browser.evaluate("document.querySelector('summary').focus()");
    browser.press("Enter", 13);
    browser.wait_until(
        "document.querySelector('details').open && document.getElementById('hour').rows.length === 6",
    );

    let mut papers = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        assert_eq!(browser.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), true);
        papers.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
        let contrasts = browser.evaluate(CONTRASTS);
        assert!(contrasts["texts"].as_f64().unwrap() >= 4.5, "{scheme}: {contrasts}");
        assert!(contrasts["charts"].as_f64().unwrap() >= 3.0, "{scheme}: {contrasts}");
    }
    assert_ne!(papers[0], papers[1]);
}

/// What a row of a table says, in JavaScript.
fn figure(table: &str, row: &str) -> String {
    format!("[...{table}.rows].find(({{cells}}) => cells[0].textContent === '{row}')?.cells[1].textContent")
}

fn open(browser: &mut Browser, url: &str) {
    browser.open(url);
    browser.wait_until("document.getElementById('state')?.textContent === 'serving'");
}

fn server_with_page(more: &[&str]) -> (Server, String) {
    let (server, http) = watched(Udp, more);
    (server, format!("http://{http}/"))
}
