//! A headless Chromium, and how a test asks about its page.

use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The driver of Chromium. Debian has it in a package of its own.
const DRIVER: &str = "chromedriver";
/// The remedy for a browser that does not start.
const INSTALL: &str = "install the Debian packages chromium and chromium-driver";

pub(crate) struct Browser {
    client: Client,
    _driver: Driver,
    directory: TempDir,
}

impl Browser {
    /// A browser with a fresh profile, in a window of the usual size.
    pub(crate) async fn start() -> Browser {
        let (driver, port) = Driver::start();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let profile = format!("--user-data-dir={}", directory.path().join("profile").display());
        // Without a sandbox, because tests may run as root. The pages need no network. Reduced motion,
        // because a click during smooth scrolling misses its element.
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--window-size=1400,900",
            "--force-prefers-reduced-motion",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ];
        let args: Vec<_> = args.into_iter().chain([profile.as_str()]).collect();
        let options = json!({ "args": args });
        let wanted = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await;
        let client = client.expect(INSTALL);
        Browser { client, _driver: driver, directory }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) async fn open(&self, page: &Path) {
        self.open_at(page, "").await;
    }

    /// Opens a page at a fragment of its address.
    pub(crate) async fn open_at(&self, page: &Path, fragment: &str) {
        self.client.goto(&format!("file://{}#{fragment}", page.display())).await.expect("a page");
    }

    /// The scripts of the test run in the first frame of the page from now on.
    pub(crate) async fn enter_frame(&self) {
        self.client.enter_frame(0).await.expect("a frame");
    }

    /// Waits until an element matches: events of the page may follow an action later.
    pub(crate) async fn wait_for(&self, selector: &str) {
        let found = self.client.wait().for_element(Locator::Css(selector)).await;
        found.expect(selector);
    }

    pub(crate) async fn ask(&self, script: &str) -> Value {
        let answer = self.client.execute(&format!("return ({script})"), Vec::new()).await;
        answer.expect(script)
    }

    /// The visible texts of all matching elements.
    pub(crate) async fn texts(&self, selector: &str) -> Vec<String> {
        let script =
            format!("[...document.querySelectorAll({selector:?})].map((one) => one.innerText.trim())");
        serde_json::from_value(self.ask(&script).await).expect("texts")
    }

    pub(crate) async fn text(&self, selector: &str) -> String {
        self.texts(selector).await.join("\n")
    }

    /// Clicks with the mouse on the first match. If another element covers the match, the other element
    /// receives the click.
    pub(crate) async fn click(&self, selector: &str) {
        let found = self.client.find(Locator::Css(selector)).await;
        let clicked = found.expect(selector).click().await;
        clicked.expect(selector);
    }

    /// Types keys. The element with the focus receives them.
    pub(crate) async fn type_in(&self, keys: &str) {
        let focused = self.client.active_element().await.expect("there always is one");
        focused.send_keys(keys).await.expect("keys");
    }

    pub(crate) async fn press(&self, key: Key) {
        self.type_in(&char::from(key).to_string()).await;
    }

    pub(crate) async fn close(self) {
        self.client.close().await.expect("an end");
    }
}

/// The driver. Its process leads a group with all its browsers.
struct Driver {
    child: Child,
    _out: Option<Lines<BufReader<ChildStdout>>>,
}

impl Driver {
    fn start() -> (Driver, u16) {
        let mut command = Command::new(DRIVER);
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn();
        let mut child = child.expect(INSTALL);
        let mut lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        let mut ports = lines.iter_mut().flatten().map_while(Result::ok);
        let port = ports.find_map(|line| port(&line));
        drop(ports);
        // The pipe stays open, because the driver may write until its exit.
        (Driver { child, _out: lines }, port.expect("a line with the port"))
    }
}

/// The port in the line `ChromeDriver was started successfully on port 41521.`
fn port(line: &str) -> Option<u16> {
    line.split_once(" successfully on port ")?.1.trim_end_matches('.').parse().ok()
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
