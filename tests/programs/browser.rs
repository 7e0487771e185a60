//! A browser without a screen, driven as developers' tools drive it.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Error, Message, WebSocket};

use crate::running::installed;

/// How long it may take to answer, which ends a wait for what never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// One page of a Chromium of its own, with all that it has reported; ended when dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    tools: WebSocket<TcpStream>,
    session: Value,
    calls: u64,
    reports: Vec<Value>,
    child: Child,
    _stderr: BufReader<ChildStderr>,
    _profile: TempDir,
}

impl Browser {
    /// With an empty page, unless there is no Chromium here.
    pub(crate) fn start() -> Option<Self> {
        let mut command = installed("chromium")?;
        let profile = TempDir::new().unwrap();
        // Its own sandbox is not for root; it sees only pages of the server under test.
        command.args(["--headless", "--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-port=0"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let url = tools_url(&mut stderr);
        let address = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).expect(&url);
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (tools, _) = tungstenite::client(url.as_str(), stream).unwrap();
        let session = Value::Null;
        let reports = Vec::new();
        let mut browser =
            Self { tools, session, calls: 0, reports, child, _stderr: stderr, _profile: profile };
        browser.attach();
        Some(browser)
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].take();
        let attached = self.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        self.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.call("Emulation.setFocusEmulationEnabled", json!({"enabled": true}));
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    /// What an expression of JavaScript, or the promise that it is, comes to in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", params);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true in the page that is open.
    pub(crate) fn wait_until(&mut self, expression: &str) {
        let end = PATIENCE.as_millis();
        self.evaluate(&format!(
            "new Promise((done, fail) => {{
                const end = performance.now() + {end};
                const later = () => performance.now() < end ? setTimeout(watch, 20) : fail('never');
                const watch = () => ({expression}) ? done() : later();
                watch();
            }})"
        ));
    }

    pub(crate) fn text(&mut self, id: &str) -> String {
        self.evaluate(&format!("document.getElementById('{id}').textContent")).as_str().unwrap().to_owned()
    }

    pub(crate) fn press(&mut self, key: &str, code: u8) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", screen);
    }

    /// `light` or `dark`, as the system of a user would ask for it.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Errors, warnings and violations of the policy, of all pages so far.
    pub(crate) fn complaints(&self) -> Vec<&Value> {
        let complaints = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        self.reports.iter().filter(|report| complaints.iter().any(|name| report["method"] == *name)).collect()
    }

    /// The addresses that the pages have asked, each once.
    pub(crate) fn requests(&self) -> Vec<&str> {
        let sent = self.reports.iter().filter(|report| report["method"] == "Network.requestWillBeSent");
        let mut urls: Vec<&str> =
            sent.filter_map(|report| report["params"]["request"]["url"].as_str()).collect();
        urls.sort_unstable();
        urls.dedup();
        urls
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": params});
        if self.session != Value::Null {
            call["sessionId"] = self.session.clone();
        }
        self.tools.send(Message::text(call.to_string())).unwrap();
        loop {
            let message = match self.tools.read() {
                // A child of another test that ends is no reason to give up.
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.unwrap_or_else(|error| panic!("{method} {params}: {error}")),
            };
            let mut report: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
            if report["id"] == self.calls {
                assert_eq!(report["error"], Value::Null, "{method}");
                return report["result"].take();
            }
            self.reports.push(report);
        }
    }
}

/// Where it takes orders, which it says once it does.
fn tools_url(stderr: &mut impl BufRead) -> String {
    let mut lines = stderr.lines().map_while(Result::ok);
    let url = lines.find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned));
    url.expect("Chromium starts")
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
