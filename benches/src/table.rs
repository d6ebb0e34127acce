//! The table: what was measured, beside what, and the ratios.

use std::time::Duration;

/// What a figure stands beside: a goal, a peer in the same run, a limit of the machine.
#[derive(Debug)]
pub(crate) struct Beside {
    text: String,
    ratio: Option<f64>,
}

impl Beside {
    /// Something the figure is a multiple of.
    pub(crate) fn new(text: impl Into<String>, ratio: f64) -> Self {
        Self { text: text.into(), ratio: Some(ratio) }
    }

    /// A peer which is not there, by name and with what to do about it.
    pub(crate) fn absent(text: impl Into<String>) -> Self {
        Self { text: text.into(), ratio: None }
    }
}

/// One figure.
#[derive(Debug)]
struct Row {
    what: String,
    figure: String,
    beside: Vec<Beside>,
}

/// Rows in the order they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a figure with what it stands beside.
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        figure: impl Into<String>,
        beside: impl IntoIterator<Item = Beside>,
    ) {
        let row = Row { what: what.into(), figure: figure.into(), beside: beside.into_iter().collect() };
        eprintln!("  {}: {} ({})", row.what, row.figure, row.texts());
        self.0.push(row);
    }

    /// The table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::from("| what | measured | beside | ratio |\n|---|---|---|---|\n");
        for row in &self.0 {
            let line = format!("| {} | {} | {} | {} |\n", row.what, row.figure, row.texts(), row.ratios());
            out.push_str(&line);
        }
        out
    }
}

impl Row {
    fn texts(&self) -> String {
        self.beside.iter().map(|b| b.text.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// The ratios in the order of what they are ratios to.
    fn ratios(&self) -> String {
        let text = |b: &Beside| b.ratio.map_or_else(|| "–".into(), |r| format!("{r:.2}"));
        self.beside.iter().map(text).collect::<Vec<_>>().join("; ")
    }
}

/// A time in the unit in which it has one to four digits before the point.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 1e-3 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{:.1} µs", seconds * 1e6)
    }
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ratio_stands_in_the_order_of_what_it_is_to() {
        let mut table = Table::default();
        table.add("a", "1/s", [Beside::new("goal", 0.5), Beside::absent("gh is not there")]);
        let line = table.markdown().lines().last().map(str::to_owned);
        assert_eq!(line.as_deref(), Some("| a | 1/s | goal; gh is not there | 0.50; – |"));
    }

    #[test]
    fn times_are_shown_in_a_fitting_unit() {
        assert_eq!(time(Duration::from_nanos(1500)), "1.5 µs");
        assert_eq!(time(Duration::from_micros(1500)), "1.5 ms");
        assert_eq!(time(Duration::from_millis(1500)), "1.50 s");
    }
}
