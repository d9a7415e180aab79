//! The matrix as one file for a browser: page, style, script and data, without references to other files.
//!
//! `web.html`, `web.css` and `web.js` hold the page. The sequence diagrams use the page of
//! `cluster_sim::diagram`, which the file contains once.

use std::collections::BTreeMap;

use cluster_sim::diagram;
use serde::Serialize;

use super::Matrix;
use crate::requirement::{self, Level, Requirement};

const PAGE: &str = include_str!("web/web.html");
const STYLE: &str = include_str!("web/web.css");
const SCRIPT: &str = include_str!("web/web.js");

/// The data of the page.
#[derive(Serialize)]
struct PageData<'a> {
    matrix: &'a Matrix,
    requirements: BTreeMap<&'a str, &'a Requirement>,
    levels: BTreeMap<Level, LevelText>,
}

#[derive(Serialize)]
struct LevelText {
    name: String,
    meaning: &'static str,
}

impl Matrix {
    /// The page, without references to network, fonts or scripts.
    pub fn html(&self) -> String {
        let data = PageData {
            matrix: self,
            requirements: requirement::ALL.iter().map(|one| (one.name, *one)).collect(),
            levels: Level::ALL.map(|level| (level, LevelText::of(level))).into(),
        };
        PAGE.replacen("/* STYLE */", STYLE, 1)
            .replacen("/* SCRIPT */", SCRIPT, 1)
            .replacen("/* FRAME */", &json(&diagram::template()), 1)
            .replacen("/* DATA */", &json(&data), 1)
    }
}

impl LevelText {
    fn of(level: Level) -> Self {
        LevelText { name: level.to_string(), meaning: level.meaning() }
    }
}

/// A JSON text that does not end the element around it.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data").replace('<', "\\u003c")
}
