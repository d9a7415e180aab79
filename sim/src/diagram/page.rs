//! The diagram as one file for a browser: page, style, script and data, without references to other files.
//!
//! `page.html`, `page.css` and `page.js` hold the page.

use super::Diagram;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page without a diagram: `/* DATA */` stands for the diagram as JSON, in which no `<` is allowed.
pub fn template() -> String {
    PAGE.replacen("/* STYLE */", STYLE, 1).replacen("/* SCRIPT */", SCRIPT, 1)
}

pub(super) fn of(diagram: &Diagram) -> String {
    let data = serde_json::to_string(diagram).expect("a diagram is plain data");
    // A `</script>` in a text of the program would end the element with the data.
    let data = data.replace('<', "\\u003c");
    template().replacen("/* DATA */", &data, 1)
}
