//! The page of the matrix: the summaries, the table, its filters and keys, and a cell with its traces.

use std::fs;
use std::path::Path;

use cluster_conformance::matrix::{CellResult, Matrix};
use fantoccini::key::Key;

use super::browser::Browser;

/// The largest page, in bytes.
const LARGEST: usize = 2 << 20;

fn matrix() -> Matrix {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("matrix.json");
    Matrix::from_json(&fs::read_to_string(path).expect("the data in the checkout")).expect("a matrix")
}

/// The page of the committed data, open at a fragment of its address.
async fn opened(fragment: &str) -> Browser {
    let browser = Browser::start().await;
    let html = matrix().html();
    assert!(html.len() < LARGEST, "{} bytes", html.len());
    fs::write(browser.path("matrix.html"), html).expect("a file");
    browser.open_at(&browser.path("matrix.html"), fragment).await;
    browser
}

/// A differing cell: the fragment of its address, and its number of differences.
fn differing(matrix: &Matrix) -> (String, usize) {
    let cells = matrix.scenarios.iter().flat_map(|row| {
        row.cells.iter().zip(&matrix.arms).map(move |(cell, arm)| (row.name.as_str(), cell, arm))
    });
    let mut differing =
        cells.filter(|(_, cell, _)| cell.result == CellResult::Differs && cell.seen.is_some());
    let (name, cell, arm) = differing.next().expect("a cell that differs");
    (format!("{name}/{}", arm.name.replace([' ', '/'], "-")), cell.differences.len())
}

#[tokio::test]
async fn matrix_has_every_cell() {
    let (browser, matrix) = (opened("").await, matrix());
    let rows = browser.texts("#table tbody th[scope=row]").await;
    let names: Vec<_> = matrix.scenarios.iter().map(|row| row.name.clone()).collect();
    assert_eq!(rows, names);
    let heads = browser.texts("#table thead th[scope=col]").await;
    assert_eq!(heads.len(), 1 + matrix.arms.len());
    let cells = browser.ask("document.querySelectorAll('#table .mark[aria-label]').length").await;
    assert_eq!(cells, names.len() * matrix.arms.len());
    assert_eq!(browser.ask("performance.getEntriesByType('resource').length").await, 0);
    let differences = matrix.summaries.iter().filter(|summary| !summary.differences.is_empty()).count();
    assert_eq!(browser.texts("#summaries article").await.len(), differences);
    browser.close().await;
}

#[tokio::test]
async fn matrix_filters_rows() {
    let (browser, matrix) = (opened("").await, matrix());
    let rows = "#table tbody tr";
    browser.type_in("/").await;
    browser.type_in("worker_exit").await;
    assert_eq!(browser.texts("#table tbody th").await, ["worker_exit"]);
    assert!(browser.text("#shown").await.starts_with("1 of "));
    for _ in 0.."worker_exit".len() {
        browser.press(Key::Backspace).await;
    }
    assert_eq!(browser.texts(rows).await.len(), matrix.scenarios.len());
    for result in ["holds", "known_defect", "cannot_run", "absent"] {
        browser.click(&format!("[data-result={result}]")).await;
    }
    let differs = |row: &&cluster_conformance::matrix::MatrixRow| {
        row.cells.iter().any(|cell| cell.result == CellResult::Differs)
    };
    let expected = matrix.scenarios.iter().filter(differs).count();
    assert_eq!(browser.texts(rows).await.len(), expected);
    browser.close().await;
}

#[tokio::test]
async fn permalink_opens_both_traces() {
    let (fragment, differences) = differing(&matrix());
    let browser = opened(&fragment).await;
    assert_eq!(browser.ask("document.getElementById('cell').open").await, true);
    assert_eq!(browser.texts(".difference").await.len(), differences);
    assert_eq!(browser.texts(".trace tr.first").await.len(), 1, "the first difference is marked");
    assert!(browser.text(".trace .flag").await.contains("first difference"));
    let captions = browser.texts(".trace caption").await;
    assert_eq!(captions.first().map(String::as_str), Some("primary"));
    browser.wait_for("iframe[data-drawn]").await;
    let rows = "document.querySelector('iframe').contentDocument.querySelectorAll('.row').length";
    assert!(browser.ask(rows).await.as_u64() > Some(5), "the diagram is drawn");
    browser.press(Key::Escape).await;
    browser.wait_for(".mark:focus").await;
    assert_eq!(browser.ask("document.getElementById('cell').open").await, false);
    assert_eq!(browser.ask("location.hash").await, "");
    let focused = browser.ask("document.activeElement.hash").await;
    assert_eq!(focused, format!("#{fragment}"), "the focus is back on the cell");
    browser.close().await;
}

#[tokio::test]
async fn keys_walk_through_cells() {
    let browser = opened("").await;
    let at = "document.activeElement.dataset.at";
    assert_eq!(browser.ask("document.querySelectorAll('.mark[tabindex=\"0\"]').length").await, 1);
    browser.ask("document.querySelector('.mark').focus()").await;
    for (key, place) in [(Key::Down, "1/0"), (Key::Right, "1/1"), (Key::Up, "0/1"), (Key::Left, "0/0")] {
        browser.press(key).await;
        assert_eq!(browser.ask(at).await, place);
    }
    browser.press(Key::Enter).await;
    browser.wait_for("#cell[open]").await;
    browser.close().await;
}

/// The page in a frame as wide as a phone: nothing but the table is wider.
#[tokio::test]
async fn matrix_fits_a_phone() {
    let (fragment, _) = differing(&matrix());
    let browser = opened("").await;
    let frame = "<!doctype html><iframe style='width:390px;height:844px;border:0' src='matrix.html#";
    for fragment in ["", fragment.as_str()] {
        let path = browser.path("phone.html");
        fs::write(&path, format!("{frame}{fragment}'></iframe>")).expect("a file");
        browser.open(&path).await;
        browser.enter_frame().await;
        let width =
            "Math.max(document.documentElement.scrollWidth, document.getElementById('cell').scrollWidth)";
        let width = browser.ask(width).await;
        assert!(width.as_u64() <= Some(390), "{fragment}: {width}");
    }
    browser.close().await;
}

/// The smallest contrast between a mark or a text and its background. Small text needs at least 4.5.
const CONTRAST: &str = "(() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = parts(colour).slice(0, 3).map((part) => part / 255).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (one) => {
        const colour = getComputedStyle(one).backgroundColor;
        return (parts(colour)[3] ?? 1) === 0 && one.parentElement ? behind(one.parentElement) : colour;
    };
    const contrast = (one) => {
        const [dark, bright] = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => a - b);
        return (bright + 0.05) / (dark + 0.05);
    };
    return Math.min(...[...document.querySelectorAll('.mark, .level, .quiet, .lead, article p, #table th')].map(contrast));
})()";

#[tokio::test]
async fn matrix_has_contrast_in_both_themes() {
    let browser = opened("").await;
    let mut pages = Vec::new();
    for _ in 0..2 {
        let contrast = browser.ask(CONTRAST).await;
        assert!(contrast.as_f64() > Some(4.5), "{contrast}");
        pages.push(browser.ask("getComputedStyle(document.body).backgroundColor").await);
        browser.click("#theme").await;
    }
    assert_ne!(pages[0], pages[1]);
    browser.close().await;
}
