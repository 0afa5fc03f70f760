//! `unfrag explain`: a rule's page, or the list of rules.

use crate::args::ExplainArgs;
use crate::exit::{Exit, UsageError};
use crate::printer::Printer;
use unfrag_diagnose::pages;

pub(crate) fn run(args: &ExplainArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let pages = pages();
    let Some(id) = &args.id else {
        for page in &pages {
            printer.data(&format!("{:<24} {}\n", page.id, first_sentence(&page.text)));
        }
        return Ok(Exit::Fine);
    };
    let Some(page) = pages.iter().find(|p| p.id == id) else {
        let known: Vec<&str> = pages.iter().map(|p| p.id).collect();
        let message = format!("no rule is called '{id}'; rules are: {}", known.join(", "));
        return Err(UsageError { message }.into());
    };
    printer.data(&format!("{}\n", page.text.trim_end()));
    Ok(Exit::Fine)
}

/// The first sentence under the first heading.
fn first_sentence(page: &str) -> String {
    let body = page.split("## What it detects").nth(1).unwrap_or("");
    let paragraph: Vec<&str> = body
        .lines()
        .map(str::trim)
        .skip_while(|l| l.is_empty())
        .take_while(|l| !l.is_empty())
        .collect();
    let text = paragraph.join(" ");
    text.split_once(". ").map_or_else(|| text.clone(), |(first, _)| format!("{first}."))
}
