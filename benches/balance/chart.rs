//! The plots, as SVG. The colours of text and grid follow the theme of the reader.

use anyhow::{Context, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

/// Text and axes; replaced by a colour of the theme.
const INK: RGBColor = RGBColor(1, 2, 3);
/// The grid; replaced by a colour of the theme.
const GRID: RGBColor = RGBColor(4, 5, 6);
const THEME: &str = "<style>[fill=\"#010203\"]{fill:#333}[stroke=\"#010203\"]{stroke:#333}\
    [stroke=\"#040506\"]{stroke:#ccc}@media(prefers-color-scheme:dark){[fill=\"#010203\"]{fill:#ddd}\
    [stroke=\"#010203\"]{stroke:#ddd}[stroke=\"#040506\"]{stroke:#555}}</style>";
/// Colours with contrast on white and on black.
const COLOURS: [RGBColor; 8] = [
    RGBColor(59, 142, 208),
    RGBColor(224, 123, 57),
    RGBColor(44, 165, 141),
    RGBColor(181, 101, 217),
    RGBColor(201, 162, 39),
    RGBColor(209, 73, 91),
    RGBColor(122, 135, 147),
    RGBColor(150, 110, 80),
];
const FONT: &str = "sans-serif";
const WIDTH: u32 = 860;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The points of a row, on a logarithmic axis.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
}

/// A panel with a row for each policy.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
    /// A vertical line.
    pub(crate) ideal: Option<f64>,
}

/// A panel with a line for each policy.
#[derive(Debug, Clone)]
pub(crate) struct Curves {
    pub(crate) title: String,
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// Draws panels of rows, two side by side. `range`: the ends of the axis.
pub(crate) fn rows(panels: &[Panel], axis: &str, range: [f64; 2]) -> anyhow::Result<String> {
    let most = panels.iter().map(|panel| panel.rows.len()).max().context("no panel")?;
    let lines = panels.len().div_ceil(2);
    let height = lines * (70 + 26 * most);
    draw(u32::try_from(height)?, |root| {
        for (area, panel) in root.split_evenly((lines, 2)).iter().zip(panels) {
            draw_rows(area, panel, axis, range)?;
        }
        Ok(())
    })
}

fn draw_rows(area: &Area<'_>, panel: &Panel, axis: &str, [low, high]: [f64; 2]) -> anyhow::Result<()> {
    let count = panel.rows.iter().fold(0.0, |count, _| count + 1.0);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, font(15))
        .margin_left(14)
        .margin_right(16)
        .x_label_area_size(34)
        .build_cartesian_2d((low..high).log_scale(), 0.0..count)
        .map_err(|error| anyhow!("{error}"))?;
    let mesh = chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(8)
        .x_desc(axis)
        .label_style(font(11))
        .x_label_formatter(&|value| format!("{value}"))
        .draw();
    mesh.map_err(|error| anyhow!("{error}"))?;
    let clip = |value: f64| value.clamp(low, high);
    let mut elements = Vec::new();
    for (row, colour) in panel.rows.iter().zip(COLOURS.iter().cycle()) {
        let y = count - 0.65 - f64::from(u32::try_from(elements.len())?);
        elements.push((row, *colour, y));
    }
    if let Some(ideal) = panel.ideal {
        let line = vec![(clip(ideal), 0.0), (clip(ideal), count)];
        chart.draw_series([PathElement::new(line, INK)]).map_err(|error| anyhow!("{error}"))?;
    }
    for (row, colour, y) in elements {
        let points: Vec<(f64, f64)> = row.values.iter().map(|value| (clip(*value), y)).collect();
        let label = Text::new(row.name.clone(), (low, y + 0.55), font(12));
        chart.draw_series([label]).map_err(|error| anyhow!("{error}"))?;
        chart.draw_series([PathElement::new(points.clone(), colour)]).map_err(|error| anyhow!("{error}"))?;
        let radius = [3, 5, 4].into_iter().zip([colour.filled(), colour.filled(), colour.stroke_width(2)]);
        let circles =
            points.into_iter().zip(radius).map(|(point, (size, style))| Circle::new(point, size, style));
        chart.draw_series(circles).map_err(|error| anyhow!("{error}"))?;
    }
    Ok(())
}

/// Draws panels of curves, two side by side.
pub(crate) fn curves(panels: &[Curves], x: &str, y: &str, top: f64) -> anyhow::Result<String> {
    draw(340, |root| {
        for (area, panel) in root.split_evenly((1, panels.len())).iter().zip(panels) {
            draw_curves(area, panel, [x, y], top)?;
        }
        Ok(())
    })
}

fn draw_curves(area: &Area<'_>, panel: &Curves, [x, y]: [&str; 2], top: f64) -> anyhow::Result<()> {
    let points = || panel.lines.iter().flat_map(|(_, points)| points);
    let first = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let last = points().map(|(x, _)| *x).fold(f64::NEG_INFINITY, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, font(15))
        .margin_right(16)
        .x_label_area_size(34)
        .y_label_area_size(44)
        .build_cartesian_2d(first..last, 0.0..top)
        .map_err(|error| anyhow!("{error}"))?;
    let mesh = chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_desc(x)
        .y_desc(y)
        .label_style(font(11))
        .draw();
    mesh.map_err(|error| anyhow!("{error}"))?;
    for ((name, points), colour) in panel.lines.iter().zip(COLOURS.iter().cycle().copied()) {
        let points = points.iter().map(|(x, y)| (*x, y.min(top)));
        let series = LineSeries::new(points, colour.stroke_width(2));
        let drawn = chart.draw_series(series).map_err(|error| anyhow!("{error}"))?;
        drawn
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
    }
    let legend =
        chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).label_font(font(11)).draw();
    legend.map_err(|error| anyhow!("{error}"))
}

fn draw(height: u32, content: impl FnOnce(&Area<'_>) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        content(&root)?;
        root.present().map_err(|error| anyhow!("{error}"))?;
    }
    let end = svg.find('>').context("the drawing has no element")? + 1;
    svg.insert_str(end, THEME);
    Ok(svg)
}

fn font(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}
