//! The diagram as one file for a browser: the page, its style, its script and the data, and no reference to anything else.
//!
//! What can be seen and done there is in `page.html`, `page.css` and `page.js`.

use super::Diagram;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(super) fn of(diagram: &Diagram) -> String {
    let data = serde_json::to_string(diagram).expect("a diagram is plain data");
    // What a program wrote shall not end the element that it stands in.
    let data = data.replace('<', "\\u003c");
    PAGE.replacen("/* STYLE */", STYLE, 1).replacen("/* SCRIPT */", SCRIPT, 1).replacen(
        "/* DATA */",
        &data,
        1,
    )
}
