//! The text form of Prometheus: a [`Page`] of families.

use std::fmt::{Display, Write};

/// What a family counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Gauge,
    Counter,
}

/// A page in the making.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
}

/// One family, open for samples. Its head is written with its first sample, so that empty families leave no trace.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    help: &'static str,
    kind: Kind,
    begun: bool,
}

impl Page {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes) }
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        Family { text: &mut self.text, name, help, kind: Kind::Gauge, begun: false }
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        Family { text: &mut self.text, name, help, kind: Kind::Counter, begun: false }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// A sample; `labels` are written as they are, `None` is left out.
    pub(super) fn put<T: Display>(&mut self, labels: &str, value: Option<T>) {
        self.put_with(labels, &[], value);
    }

    /// A sample with more labels, whose values are escaped here.
    pub(super) fn put_with<T: Display>(
        &mut self,
        labels: &str,
        more: &[(&str, &str)],
        value: Option<T>,
    ) {
        let Some(value) = value else { return };
        if !self.begun {
            self.begun = true;
            let kind = match self.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            let name = self.name;
            self.text.push_str(&format!("# HELP {name} {}\n# TYPE {name} {kind}\n", self.help));
        }
        self.text.push_str(self.name);
        if !(labels.is_empty() && more.is_empty()) {
            self.text.push('{');
            self.text.push_str(labels);
            for (n, (name, value)) in more.iter().enumerate() {
                let comma = if n > 0 || !labels.is_empty() { "," } else { "" };
                self.text.push_str(&format!("{comma}{name}=\"{}\"", escaped(value)));
            }
            self.text.push('}');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, " {value}");
    }
}

/// A label's value, as the text form wants it.
pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
