//! The table: what was measured, beside what, and the ratio.

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    figure: String,
    beside: String,
    ratio: String,
}

/// Rows in the order they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a figure with what it stands beside: a goal, a peer in the same run, a limit of the machine.
    pub(crate) fn add(&mut self, what: &str, figure: String, beside: String, ratio: Option<f64>) {
        let ratio = ratio.map(|r| format!("{r:.2}")).unwrap_or_default();
        eprintln!("  {what}: {figure} ({beside})");
        self.0.push(Row { what: what.to_owned(), figure, beside, ratio });
    }

    /// The table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::from("| what | measured | beside | ratio |\n|---|---|---|---|\n");
        for r in &self.0 {
            out.push_str(&format!("| {} | {} | {} | {} |\n", r.what, r.figure, r.beside, r.ratio));
        }
        out
    }
}
