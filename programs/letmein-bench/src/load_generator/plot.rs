//! Figures as a picture: latency by percentile, and verdicts over time.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::Figures;

/// Pixels.
const SIZE: (u32, u32) = (900, 700);
/// Percentiles are drawn by how few logins are slower: one in ten, in a hundred, and so on, up to one in this.
const RAREST: f64 = 1e5;

/// Draws figures into an SVG file: those of the server, and those of the floor beside them if there are any.
///
/// # Errors
/// The system's, or the drawing library's.
pub(crate) fn draw(path: &Path, server: &Figures, floor: Option<&Figures>) -> Result<(), Box<dyn Error>> {
    let series: Vec<_> = [Some(("server", server, BLUE)), floor.map(|floor| ("floor", floor, RED))]
        .into_iter()
        .flatten()
        .collect();
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (top, bottom) = root.split_vertically(SIZE.1 / 2);
        draw_latency(&top, &series)?;
        draw_throughput(&bottom, &series)?;
        root.present()?;
    }
    Ok(std::fs::write(path, picture)?)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Series<'a> = (&'static str, &'a Figures, RGBColor);

fn draw_latency(area: &Area<'_>, series: &[Series<'_>]) -> Result<(), Box<dyn Error>> {
    let points = |figures: &Figures| {
        let steps = (0..=100).map(|step| RAREST.powf(f64::from(step) / 100.0));
        steps
            .map(|one_in| (one_in, figures.percentile(100.0 - 100.0 / one_in).as_secs_f64() * 1e6))
            .collect::<Vec<_>>()
    };
    let slowest =
        series.iter().flat_map(|(_, figures, _)| points(figures)).map(|(_, us)| us).fold(10.0, f64::max);
    let mut chart = chart(area, "Latency of a login: all but one in so many are faster")
        .build_cartesian_2d((1.0..RAREST).log_scale(), (1.0..slowest * 1.5).log_scale())?;
    let whole = |number: &f64| format!("{number:.0}");
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("one login in").y_desc("µs").x_label_formatter(&whole).y_label_formatter(&whole).draw()?;
    for (name, figures, colour) in series {
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(points(figures), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK).draw()?;
    Ok(())
}

fn draw_throughput(area: &Area<'_>, series: &[Series<'_>]) -> Result<(), Box<dyn Error>> {
    let seconds = series.iter().map(|(_, figures, _)| figures.whole_seconds().len()).max().unwrap_or(0);
    let most = series.iter().flat_map(|(_, figures, _)| figures.whole_seconds()).max().copied().unwrap_or(0);
    let mut chart = chart(area, "Verdicts in each second")
        .build_cartesian_2d(0..seconds.max(1), 0..most.max(1) * 11 / 10)?;
    chart.configure_mesh().x_desc("s").y_desc("logins/s").draw()?;
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
