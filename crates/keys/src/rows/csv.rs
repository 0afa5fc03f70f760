//! CSV as RFC 4180 has it. Text that a spreadsheet would run as a formula is disarmed.

use std::io::Write;

use super::{Cell, Columns, RowError, Sink};

pub(super) struct Csv<'o> {
    out: Box<dyn Write + Send + 'o>,
}

impl<'o> Csv<'o> {
    pub(super) fn new(
        mut out: Box<dyn Write + Send + 'o>,
        columns: Columns,
    ) -> Result<Self, RowError> {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        writeln!(out, "{}", names.join(","))?;
        Ok(Self { out })
    }
}

impl Sink for Csv<'_> {
    fn row(&mut self, row: Vec<Cell>) -> Result<(), RowError> {
        let cells: Vec<String> = row
            .into_iter()
            .map(|cell| match cell {
                Cell::Text(text) => quoted(&text),
                Cell::Int(value) => value.to_string(),
                Cell::Float(value) => format!("{value:.6}"),
                Cell::None => String::new(),
            })
            .collect();
        Ok(writeln!(self.out, "{}", cells.join(","))?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), RowError> {
        Ok(self.out.flush()?)
    }
}

fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@']);
    if is_formula {
        return format!("\"'{}\"", text.replace('"', "\"\""));
    }
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_in_its_cell() {
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
        assert_eq!(quoted("user:{id}"), "user:{id}");
    }
}
