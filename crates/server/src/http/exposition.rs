//! The text formats of Prometheus: OpenMetrics 1.0.0, and the format 0.0.4 that came before it.

use std::fmt::{Arguments, Write};

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Version 0.0.4. Descriptions name a counter with `_total`, and there are neither units nor an end marker.
    Plain,
}

impl Format {
    /// The type of a page, for its header.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// A page of metrics. Names, descriptions and labels are constants without quotes, backslashes and line ends, so
/// nothing is escaped. A name that ends in `_seconds` has that unit.
pub struct Page {
    format: Format,
    text: String,
}

impl Page {
    /// Begins a page.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// A counter; the text adds `_total` to its name.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.describe(name, help, MetricKind::Counter);
        self.line(format_args!("{name}_total {value}"));
    }

    /// A counter for each value of a label.
    pub(super) fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) {
        self.describe(name, help, MetricKind::Counter);
        for (of, value) in values {
            self.line(format_args!("{name}_total{{{label}=\"{of}\"}} {value}"));
        }
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.describe(name, help, MetricKind::Gauge);
        self.line(format_args!("{name} {value}"));
    }

    /// A gauge for each value of a label.
    pub(super) fn gauges(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) {
        self.describe(name, help, MetricKind::Gauge);
        for (of, value) in values {
            self.line(format_args!("{name}{{{label}=\"{of}\"}} {value}"));
        }
    }

    /// A gauge that is always 1, for the sake of its labels.
    pub(super) fn info(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &'static str)],
    ) {
        self.describe(name, help, MetricKind::Gauge);
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        self.line(format_args!("{name}{{{}}} 1", labels.join(",")));
    }

    /// Buckets by their upper bounds, in rising order; the last has none.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        sum: f64,
        buckets: &[(Option<f64>, u64)],
    ) {
        self.describe(name, help, MetricKind::Histogram);
        let mut count = 0;
        for (bound, more) in buckets {
            count += more;
            let bound = bound.map_or("+Inf".to_owned(), |bound| format!("{bound:?}"));
            self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {count}"));
        }
        self.line(format_args!("{name}_sum {sum:?}"));
        self.line(format_args!("{name}_count {count}"));
    }

    /// The text.
    #[must_use]
    pub fn finish(mut self) -> String {
        match self.format {
            Format::OpenMetrics => self.line(format_args!("# EOF")),
            Format::Plain => {}
        }
        self.text
    }

    fn describe(&mut self, name: &'static str, help: &'static str, kind: MetricKind) {
        let (kind, suffix) = match (kind, self.format) {
            (MetricKind::Counter, Format::OpenMetrics) => ("counter", ""),
            (MetricKind::Counter, Format::Plain) => ("counter", "_total"),
            (MetricKind::Gauge, _) => ("gauge", ""),
            (MetricKind::Histogram, _) => ("histogram", ""),
        };
        self.line(format_args!("# HELP {name}{suffix} {help}"));
        self.line(format_args!("# TYPE {name}{suffix} {kind}"));
        if self.format == Format::OpenMetrics && name.ends_with("_seconds") {
            self.line(format_args!("# UNIT {name} seconds"));
        }
    }

    fn line(&mut self, line: Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut page = Page::new(format);
        page.info("a_info", "What.", &[("b", "c"), ("d", "e")]);
        page.counter("f", "How often.", 3);
        page.counters("g", "Of each.", "h", &[("i", 1), ("j", 2)]);
        page.gauges("k_seconds", "How long.", "l", &[("m", 4)]);
        page.histogram("n_seconds", "All.", 2.5, &[(Some(0.0001), 1), (Some(10.0), 2), (None, 3)]);
        page.finish()
    }

    #[test]
    fn openmetrics_has_units_and_an_end() {
        let expected = "\
# HELP a_info What.
# TYPE a_info gauge
a_info{b=\"c\",d=\"e\"} 1
# HELP f How often.
# TYPE f counter
f_total 3
# HELP g Of each.
# TYPE g counter
g_total{h=\"i\"} 1
g_total{h=\"j\"} 2
# HELP k_seconds How long.
# TYPE k_seconds gauge
# UNIT k_seconds seconds
k_seconds{l=\"m\"} 4
# HELP n_seconds All.
# TYPE n_seconds histogram
# UNIT n_seconds seconds
n_seconds_bucket{le=\"0.0001\"} 1
n_seconds_bucket{le=\"10.0\"} 3
n_seconds_bucket{le=\"+Inf\"} 6
n_seconds_sum 2.5
n_seconds_count 6
# EOF
";
        assert_eq!(written(Format::OpenMetrics), expected);
    }

    #[test]
    fn the_older_format_describes_counters_by_their_whole_name_and_has_no_end() {
        let plain = written(Format::Plain);
        assert!(plain.contains("# HELP f_total How often.\n# TYPE f_total counter\nf_total 3\n"), "{plain}");
        assert!(!plain.contains("# UNIT") && !plain.contains("# EOF"), "{plain}");
    }
}
