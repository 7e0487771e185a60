//! Figures as a picture: latency by percentile, and verdicts over time.

use std::error::Error;

use plotters::prelude::*;

use super::Figures;

/// Pixels.
const SIZE: (u32, u32) = (900, 720);
const TITLE_HEIGHT: u32 = 40;
/// Percentiles are drawn by how few logins are slower: one in ten, in a hundred, and so on, up to one in this.
const RAREST: f64 = 1e5;

// The colours of the status page.
const INK: RGBColor = RGBColor(0x20, 0x26, 0x2a);
const GRID: RGBColor = RGBColor(0xda, 0xd8, 0xd0);
const PAPER: RGBColor = RGBColor(0xfb, 0xfa, 0xf7);
const SERVER: RGBColor = RGBColor(0x14, 0x74, 0x6b);
const ECHO: RGBColor = RGBColor(0xb0, 0x4a, 0x1c);

/// Draws figures as an SVG: those of the server, and those of the echo if there are any.
///
/// # Errors
/// The drawing library's.
pub(crate) fn draw(
    subject: &str,
    server: &Figures,
    floor: Option<&Figures>,
) -> Result<String, Box<dyn Error>> {
    let series: Vec<_> = [Some(("server", server, SERVER)), floor.map(|floor| ("echo", floor, ECHO))]
        .into_iter()
        .flatten()
        .collect();
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        root.fill(&PAPER)?;
        let (title, charts) = root.split_vertically(TITLE_HEIGHT);
        title.draw(&Text::new(subject.to_owned(), (16, 16), ("sans-serif", 15).into_font().color(&INK)))?;
        let (top, bottom) = charts.split_vertically((SIZE.1 - TITLE_HEIGHT) / 2);
        draw_latency(&top, &series)?;
        draw_throughput(&bottom, &series)?;
        root.present()?;
    }
    Ok(picture)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Series<'a> = (&'static str, &'a Figures, RGBColor);

fn draw_latency(area: &Area<'_>, series: &[Series<'_>]) -> Result<(), Box<dyn Error>> {
    let points = |figures: &Figures| {
        let steps = (0..=100).map(|step| RAREST.powf(f64::from(step) / 100.0));
        steps
            .map(|one_in| (one_in, figures.percentile(100.0 - 100.0 / one_in).as_secs_f64() * 1e3))
            .collect::<Vec<_>>()
    };
    let all: Vec<f64> = series.iter().flat_map(|(_, figures, _)| points(figures)).map(|(_, ms)| ms).collect();
    let (fastest, slowest) =
        (all.iter().copied().fold(1.0, f64::min), all.iter().copied().fold(0.1, f64::max));
    // A run without verdicts has no latency.
    let fastest = fastest.max(1e-3);
    let mut chart = chart(area, "Login latency by percentile")
        .build_cartesian_2d((1.0..RAREST).log_scale(), (fastest / 1.5..slowest * 1.5).log_scale())?;
    let percentile = |one_in: &f64| format!("{} %", (1e6 - 1e6 / one_in).round() / 1e4);
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(INK).x_labels(6);
    mesh.y_desc("ms").x_label_formatter(&percentile).y_label_formatter(&|ms| ms.to_string()).draw()?;
    for (name, figures, colour) in series {
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(points(figures), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(GRID).draw()?;
    Ok(())
}

fn draw_throughput(area: &Area<'_>, series: &[Series<'_>]) -> Result<(), Box<dyn Error>> {
    let seconds = series.iter().map(|(_, figures, _)| figures.whole_seconds().len()).max().unwrap_or(0);
    let most = series.iter().flat_map(|(_, figures, _)| figures.whole_seconds()).max().copied().unwrap_or(0);
    let mut chart =
        chart(area, "Logins per second").build_cartesian_2d(0..seconds.max(1), 0..most.max(1) * 11 / 10)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .y_labels(6)
        .x_desc("s")
        .draw()?;
    for (_, figures, colour) in series {
        let points = figures.whole_seconds().iter().copied().enumerate();
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
    }
    Ok(())
}

fn chart<'a, 'b>(area: &'a Area<'b>, caption: &str) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut chart = ChartBuilder::on(area);
    chart.caption(caption, ("sans-serif", 18)).margin(12).margin_right(36);
    chart.x_label_area_size(40).y_label_area_size(70);
    chart
}
