//! The content of the page, and how the page reacts to a reader.

use std::fs;
use std::process::Command;

use cluster_sim::diagram::{About, Diagram};
use cluster_sim::scenarios::{self, ReplyServer, Scenario};
use cluster_sim::{Fault, Faults, Schedule};
use fantoccini::key::Key;

use self::browser::Browser;

mod browser;
mod matrix;

/// A run with a killed worker and a lost descriptor.
fn eventful() -> String {
    let faults = Faults::only(&[Fault::Kill, Fault::LostDescriptor]);
    let run = |seed| {
        let mut world =
            Scenario::new(ReplyServer::new(2, 2)).world().with_faults(faults).on(Schedule::seed(seed));
        world.run().expect("no check fails");
        let struck = world.schedule().struck();
        let primary_lives = world.observations().any(|line| line.text.starts_with("all disconnected"));
        let is_eventful =
            primary_lives && struck.contains(&Fault::Kill) && struck.contains(&Fault::LostDescriptor);
        is_eventful.then(|| world.replay_line())
    };
    (0..10_000).find_map(run).expect("a run with both")
}

/// The page of the command, open in the browser.
async fn shown() -> Browser {
    let browser = Browser::start().await;
    let page = browser.path("run.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    let output =
        command.arg("replay").arg(eventful()).arg("--html").arg(&page).output().expect("a running process");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    browser.open(&page).await;
    browser
}

/// Clicks on the first row of this kind that has this text.
async fn pick(browser: &Browser, kind: &str, text: &str) {
    let script = format!(
        "[...document.querySelectorAll('.row.{kind}')].find((row) => row.innerText.includes({text:?}))?.dataset.row ?? ''"
    );
    let row = browser.ask(&script).await;
    let row = row.as_str().filter(|row| !row.is_empty());
    let row = row.expect(text);
    browser.click(&format!("[data-row='{row}']")).await;
}

async fn heading(browser: &Browser) -> String {
    browser.text("#side h2").await
}

/// Whether the selected row is within the window and not covered.
const READABLE: &str = "(() => {
    const box = document.querySelector('.row.picked .label').getBoundingClientRect();
    const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    return top?.closest('.row')?.classList.contains('picked') ?? false;
})()";

#[tokio::test]
async fn page_shows_every_step() {
    let browser = shown().await;
    assert_eq!(browser.text("#name").await, "standard");
    assert_eq!(browser.text("#verdict").await, "holds");
    assert!(browser.text("#line").await.starts_with("conformance replay 'sim:v1:standard:"));
    let heads = browser.texts("#heads .head").await;
    assert_eq!(heads[..3], ["primary", "worker 1", "worker 2"]);
    assert_eq!(heads.last().map(String::as_str), Some("client 2"));
    let rows = browser.texts("#rows .row .label").await;
    assert!(rows.len() > 60 && rows[0] == "is started", "{rows:?}");
    for (what, selector) in [
        ("killed by SIGKILL", ".row.death .label"),
        ("lost descriptor", ".row.fault .label"),
        ("newconn", ".row.message .label"),
        ("receives worker", ".row.network .label"),
        ("exit of worker", ".row.event .label"),
    ] {
        let texts = browser.text(selector).await;
        assert!(texts.contains(what), "{what} is not in {texts}");
    }
    for kind in ["message", "descriptor", "lost", "life", "network"] {
        let drawn = browser.ask(&format!("document.querySelectorAll('#below .arrow.{kind}').length")).await;
        assert!(drawn.as_u64() > Some(0), "no line is a {kind}");
    }
    let legend = browser.texts("#kinds .kind").await;
    assert!(legend.len() == 8 && legend[0].starts_with("messages"), "{legend:?}");
    browser.close().await;
}

#[tokio::test]
async fn step_links_to_its_counterpart() {
    let browser = shown().await;
    pick(&browser, "message", "newconn").await;
    let first = heading(&browser).await;
    assert!(first.starts_with("Step ") && first.ends_with(", primary"), "{first}");
    let detail = browser.text("#side pre").await;
    assert!(
        detail.contains("with the descriptor of socket") && detail.contains("\"act\": \"newconn\""),
        "{detail}"
    );
    let link = browser.text("#side .jump").await;
    // The descriptor may be lost in this run.
    assert!(link.contains(", worker ") && link.contains("descriptor") && link.contains("newconn"), "{link}");
    browser.click("#side .jump").await;
    assert!(heading(&browser).await.contains(", worker "), "the link leads to the reader");
    assert_eq!(browser.ask(READABLE).await, true);
    browser.press(Key::Left).await;
    assert_eq!(heading(&browser).await, first, "back to the link");
    browser.press(Key::Right).await;
    assert!(heading(&browser).await.contains(", worker "));
    browser.close().await;
}

#[tokio::test]
async fn keys_walk_through_the_run() {
    let browser = shown().await;
    browser.press(Key::Down).await;
    assert_eq!(heading(&browser).await, "Step 1, primary");
    browser.press(Key::Down).await;
    assert_eq!(heading(&browser).await, "Step 2, primary");
    browser.press(Key::Up).await;
    assert_eq!(heading(&browser).await, "Step 1, primary");
    browser.press(Key::End).await;
    let last =
        browser.ask("document.querySelector('#rows .row:last-child').classList.contains('picked')").await;
    assert_eq!(last, true);
    assert_eq!(browser.ask(READABLE).await, true, "it scrolls along");
    browser.press(Key::Home).await;
    browser.type_in("f").await;
    let picked = browser.text(".row.picked.fault, .row.picked.death").await;
    assert!(!picked.is_empty(), "the first fault or death");
    assert_eq!(browser.ask(READABLE).await, true);
    browser.press(Key::Escape).await;
    assert_eq!(browser.texts(".row.picked").await, [""; 0]);
    assert_eq!(heading(&browser).await, "Nothing is wrong");
    browser.close().await;
}

#[tokio::test]
async fn filters_hide_rows() {
    let browser = shown().await;
    let all = browser.texts("#rows .row").await.len();
    let messages = browser.texts(".row.message").await.len();
    browser.click("[data-kind=message]").await;
    assert_eq!(browser.texts(".row").await.len(), all - messages);
    assert_eq!(browser.texts("#below .arrow.message").await.len(), 0, "a line has two ends");
    browser.click("[data-kind=message]").await;
    assert_eq!(browser.texts(".row").await.len(), all);
    browser.type_in("/").await;
    browser.type_in("sigkill").await;
    let found = browser.texts("#rows .row").await;
    assert!(!found.is_empty() && found.len() < all / 4, "{found:?}");
    assert!(browser.text("#shown").await.starts_with(&format!("{} of ", found.len())));
    browser.press(Key::Escape).await;
    assert_eq!(browser.texts(".row").await.len(), all);
    browser.click("#heads .client").await;
    let left = browser
        .ask("[...document.querySelectorAll('.row')].some((row) => row.ariaLabel.includes(', client 1:'))");
    assert_eq!(left.await, false);
    browser.close().await;
}

/// The contrast between text and background. Small text needs at least 4.5.
const CONTRAST: &str = "(() => {
    const light = (colour) => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
        const [r, g, b] = parts.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const pair = (one) => {
        const style = getComputedStyle(one);
        return [light(style.color), light(style.backgroundColor)].sort((a, b) => b - a);
    };
    return Math.min(...[...document.querySelectorAll('.row .label')].map(pair).map(([a, b]) => (a + 0.05) / (b + 0.05)));
})()";

#[tokio::test]
async fn both_themes_have_contrast() {
    let browser = shown().await;
    browser.click("[data-kind=kernel]").await;
    browser.click("[data-kind=line]").await;
    let mut pages = Vec::new();
    for _ in 0..2 {
        let contrast = browser.ask(CONTRAST).await;
        assert!(contrast.as_f64() > Some(4.5), "{contrast}");
        pages.push(browser.ask("getComputedStyle(document.body).backgroundColor").await);
        browser.type_in("t").await;
    }
    assert_ne!(pages[0], pages[1]);
    browser.close().await;
}

#[tokio::test]
async fn page_escapes_text_and_loads_nothing() {
    let browser = Browser::start().await;
    let mut world = scenarios::standard_world().traced();
    world.run().expect("no check fails");
    let evil = "</script><script>document.title = 'taken'</script><img src='http://127.0.0.1:9/x'>";
    let about = About {
        name: evil.to_owned(),
        description: evil.to_owned(),
        line: evil.to_owned(),
        faulty: vec![format!("The check fails: {evil}")],
        step: Some(world.steps()),
    };
    let page = Diagram::of(about, world.trace().expect("a recorded trace")).page();
    fs::write(browser.path("run.html"), page).expect("a file");
    browser.open(&browser.path("run.html")).await;
    assert_eq!(browser.text("#description").await, evil);
    assert_eq!(browser.ask("document.title").await, format!("A run of {evil}"));
    assert_eq!(browser.ask("performance.getEntriesByType('resource').length").await, 0);
    assert_eq!(browser.ask("document.images.length").await, 0);
    assert_eq!(browser.text("#verdict").await, "fails");
    assert!(browser.text("#end").await.contains(evil) && browser.text("#side .bad").await.contains(evil));
    assert!(!browser.texts(".row.bad").await.is_empty(), "the step at which it went wrong is marked");
    browser.close().await;
}
