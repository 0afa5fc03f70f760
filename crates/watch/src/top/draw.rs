//! Draws [`Screen`]: a line of sums, a line a server, and the selected one's ladder and findings. Good at 80 by 24.

use super::Screen;
use crate::node::{Node, State};
use crate::point::{Column, headroom, usable, waste};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row, Table, TableState, Wrap};
use std::sync::Arc;
use unfrag_model::text::{printable, wrap};
use unfrag_model::{Layers, Report, Severity, Verdict, human, signed_human};

/// Lines of the lower part.
const DETAIL: u16 = 10;

pub(super) fn screen(frame: &mut Frame<'_>, nodes: &[Arc<Node>], screen: &Screen) {
    let [head, middle, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(3), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(sums(nodes, screen), head);
    frame.render_widget(keys(screen), foot);
    let selected = nodes.get(screen.selected);
    if screen.zoomed {
        if let Some(node) = selected {
            detail(frame, middle, node, screen, true);
        }
    } else {
        let [list, lower] =
            Layout::vertical([Constraint::Min(4), Constraint::Length(DETAIL)]).areas(middle);
        table(frame, list, nodes, screen);
        if let Some(node) = selected {
            detail(frame, lower, node, screen, false);
        }
    }
    if screen.help {
        help(frame);
    }
}

/// Text from servers and configurations, disarmed for a terminal.
fn disarmed(line: Line<'static>) -> Line<'static> {
    let spans = line
        .spans
        .into_iter()
        .map(|span| Span { content: printable(&span.content).into(), ..span });
    Line { spans: spans.collect(), ..line }
}

fn sums(nodes: &[Arc<Node>], screen: &Screen) -> Line<'static> {
    let (mut lost, mut act, mut gain) = (0, 0, 0u64);
    for node in nodes {
        let state = node.state();
        lost += u32::from(state.failure.is_some());
        if let (None, Some(view)) = (&state.failure, &state.view) {
            act += u32::from(view.report.verdict >= Verdict::Act);
            gain = gain.saturating_add(waste(&view.report).unwrap_or(0));
        }
    }
    let servers = if screen.all == 1 { "server" } else { "servers" };
    let mut text = if screen.filter.text.is_empty() {
        format!(" {} {servers}", screen.all)
    } else {
        format!(
            " {} of {} {servers} with {}",
            nodes.len(),
            screen.all,
            printable(&screen.filter.text)
        )
    };
    if lost > 0 {
        text += &format!(" · {lost} no answer");
    }
    if act > 0 {
        text += &format!(" · {act} to act on");
    }
    if gain > 0 {
        text += &format!(" · {} could come back", human(gain));
    }
    Line::from(vec!["unfrag".bold(), text.into()])
}

fn keys(screen: &Screen) -> Line<'static> {
    let text = if screen.filter.typing {
        format!("/{}_   Enter keep   Esc all servers", printable(&screen.filter.text))
    } else if screen.zoomed {
        "j k scroll   Enter back   q quit".to_owned()
    } else {
        let order = screen.order.name();
        format!("j k move   Enter all of it   / find   ? keys   q quit   s order: {order}")
    };
    Line::from(text).style(Style::new().add_modifier(Modifier::DIM))
}

/// The verdict in a word, and its colour.
fn word(state: &State) -> (&'static str, Color) {
    match (&state.failure, &state.view) {
        (Some(failure), _) if failure.is_loading => ("loading", Color::Yellow),
        (Some(_), _) => ("LOST", Color::Magenta),
        (None, None) => ("reading", Color::Reset),
        (None, Some(view)) => match view.report.verdict {
            Verdict::Healthy => ("healthy", Color::Green),
            Verdict::Watch => ("watch", Color::Yellow),
            Verdict::Act => ("ACT", Color::LightRed),
            Verdict::Urgent => ("URGENT", Color::Red),
        },
    }
}

fn tint(screen: &Screen, color: Color) -> Style {
    if screen.color { Style::new().fg(color) } else { Style::new() }
}

fn table(frame: &mut Frame<'_>, area: Rect, nodes: &[Arc<Node>], screen: &Screen) {
    let past_width = usize::from(area.width.saturating_sub(7 + 22 + 8 * 4 + 6)).clamp(4, 40);
    let rows = nodes.iter().map(|node| {
        let state = node.state();
        let (verdict, color) = word(&state);
        let report = state.view.as_ref().map(|v| &v.report);
        let bytes = |n: Option<u64>| right(n.map_or("-".to_owned(), human));
        let room = report.and_then(headroom).map_or("-".to_owned(), signed_human);
        Row::new(vec![
            Line::from(Span::styled(verdict, tint(screen, color).bold())),
            Line::from(printable(&node.name)),
            bytes(report.and_then(|r| r.layers.used)),
            bytes(report.and_then(|r| r.layers.rss)),
            bytes(report.and_then(waste)),
            right(room),
            Line::from(Span::styled(past(&state, past_width), tint(screen, Color::Blue))),
        ])
    });
    let widths = [
        Constraint::Length(7),
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(u16::try_from(past_width).unwrap_or(8)),
    ];
    let heads = ["", "server", "used", "RSS", "waste", "headroom", "RSS so far"];
    let heads = heads
        .iter()
        .enumerate()
        .map(|(n, h)| if (2..6).contains(&n) { right((*h).to_owned()) } else { Line::from(*h) });
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(Style::new().add_modifier(Modifier::DIM)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut at = TableState::default().with_selected(Some(screen.selected));
    frame.render_stateful_widget(table, area, &mut at);
}

fn right(text: String) -> Line<'static> {
    Line::from(text).right_aligned()
}

/// RSS over the known past, as eighths of a line.
fn past(state: &State, width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values = state.line.values(Column::Rss);
    let tail = values.len().saturating_sub(width);
    let top = values.iter().map(|v| v.1).fold(1.0, f64::max);
    values
        .iter()
        .skip(tail)
        .map(|(_, v)| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
            let step = (v / top * 7.0).round().clamp(0.0, 7.0) as usize;
            BLOCKS.get(step).copied().unwrap_or(' ')
        })
        .collect()
}

fn detail(frame: &mut Frame<'_>, area: Rect, node: &Node, screen: &Screen, all: bool) {
    let state = node.state();
    let mut lines = vec![];
    if let Some(failure) = &state.failure {
        lines.push(Line::from(format!("it does not answer: {}", failure.message)).bold());
        lines.push(Line::from(failure.hint.clone()));
    }
    if let Some(view) = &state.view {
        let report = &view.report;
        lines.push(Line::from(report.summary.clone()).bold());
        let width = usize::from(area.width.saturating_sub(2));
        lines.extend(ladder(&report.layers, width, screen));
        lines.push(gains(report));
        lines.extend(outlook(&state));
        lines.extend(findings(report, screen, all, width));
    }
    let group = if node.group == node.name { "" } else { &node.group };
    let dot = if group.is_empty() { "" } else { " · " };
    let name = printable(&format!("{group}{dot}{}", node.name));
    let title = match state.view.as_ref().map(|v| &v.report.server) {
        Some(s) => {
            let version = s.version.map(|v| v.to_string()).unwrap_or_default();
            format!(" {name} · {:?} {version} · {} ", s.flavor, s.role.unwrap_or("?"))
        }
        None => format!(" {name} "),
    };
    let block = Block::new().borders(Borders::TOP).title(title);
    let lines: Vec<Line<'_>> = lines.into_iter().map(disarmed).collect();
    let text = Paragraph::new(lines).block(block).wrap(Wrap { trim: false });
    frame.render_widget(text.scroll((if all { screen.scroll } else { 0 }, 0)), area);
}

/// The ladder as one bar with letters, so that it can be read without colour, and its legend.
fn ladder(layers: &Layers, width: usize, screen: &Screen) -> Vec<Line<'static>> {
    let Some(rss) = layers.rss.filter(|r| *r > 0) else { return vec![] };
    let parts = [
        ("used", 'u', Color::Blue, layers.used),
        ("overhead", 'o', Color::Cyan, layers.allocated),
        ("fragmented", 'f', Color::LightRed, layers.active),
        ("retained", 'r', Color::Yellow, layers.resident),
        ("outside", 'x', Color::Magenta, layers.rss),
    ];
    let (mut at, mut bar, mut legend) = (0u64, vec![], vec![]);
    for (name, letter, color, level) in parts {
        let Some(level) = level.map(|l| l.min(rss)) else { continue };
        let bytes = level.saturating_sub(at);
        let cells = |bytes: u64| {
            usize::try_from(u128::from(bytes) * width as u128 / u128::from(rss)).unwrap_or(0)
        };
        let count = cells(level.max(at)) - cells(at);
        at = at.max(level);
        let drawn: String = if screen.color { "█" } else { "" }.repeat(count);
        let drawn = if screen.color { drawn } else { letter.to_string().repeat(count) };
        bar.push(Span::styled(drawn, tint(screen, color)));
        if bytes > 0 {
            let key = if screen.color { "■".to_owned() } else { letter.to_string() };
            legend.push(Span::styled(key, tint(screen, color)));
            // No-break spaces: an entry stays whole when the legend takes two lines.
            let entry = format!(" {name} {}", human(bytes)).replace(' ', "\u{a0}");
            legend.push(Span::from(entry + "   "));
        }
    }
    vec![Line::from(bar), Line::from(legend)]
}

fn gains(report: &Report) -> Line<'static> {
    let r = &report.reclaim;
    let all = [
        ("purge", &r.purge),
        ("defrag", &r.defrag),
        ("repack", &r.repack),
        ("restart", &r.restart),
    ];
    let said: Vec<String> = all
        .iter()
        .filter_map(|(name, e)| Some(format!("{name} {}", human(usable(e).filter(|&b| b > 0)?))))
        .collect();
    Line::from(if said.is_empty() {
        "nothing would give memory back here".to_owned()
    } else {
        format!("would come back: {}", said.join(", "))
    })
}

fn outlook(state: &State) -> Option<Line<'static>> {
    let until = state.outlook.until_limit?;
    let hours = |s: f64| {
        if s < 7200.0 { format!("{:.0} min", s / 60.0) } else { format!("{:.0} h", s / 3600.0) }
    };
    Some(Line::from(format!(
        "at this rate it is full in about {} (not before {})",
        hours(until.likely_s),
        hours(until.soonest_s)
    )))
}

/// Columns of a finding's mark; what belongs to it stands behind them.
const MARK: usize = 7;

/// Text behind so many columns, on as many lines as it takes.
fn behind(columns: usize, text: &str, width: usize) -> Vec<Line<'static>> {
    let wrapped = wrap(text, width.saturating_sub(columns), 0);
    wrapped.lines().map(|l| Line::from(format!("{:columns$}{l}", ""))).collect()
}

fn findings(report: &Report, screen: &Screen, all: bool, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![];
    for finding in &report.findings {
        let (mark, color) = match finding.severity {
            Severity::Urgent => ("URGENT", Color::Red),
            Severity::Act => ("ACT", Color::LightRed),
            Severity::Watch => ("watch", Color::Yellow),
            Severity::Info => ("info", Color::Reset),
        };
        let mark = Span::styled(format!("{mark:<MARK$}"), tint(screen, color).bold());
        let title = wrap(&finding.title, width.saturating_sub(MARK), 0);
        let (first, rest) = title.split_once('\n').unwrap_or((&title, ""));
        lines.push(Line::from(vec![mark, first.to_owned().into()]));
        lines.extend(behind(MARK, rest, width));
        if all {
            lines.extend(behind(MARK, &finding.meaning, width));
            let evidence = finding.evidence.iter().flat_map(|e| {
                behind(MARK + 2, &format!("{} = {} ({})", e.what, e.value, e.source), width)
            });
            lines.extend(evidence.map(Line::dim));
        }
        if let Some(remedy) = finding.remedies.first()
            && (all || finding.severity >= Severity::Act)
        {
            lines.extend(behind(MARK, &format!("-> {}", remedy.next), width));
        }
    }
    lines
}

fn help(frame: &mut Frame<'_>) {
    let lines = [
        "j k, arrows   move, scroll",
        "g G           first, last",
        "Enter         one server with all findings, and back",
        "/             find servers by name; Esc shows all again",
        "s             next order: worst, waste, headroom, RSS, name",
        "q             quit",
        "",
        "used       what the server handed out",
        "waste      the most that one remedy would give back",
        "headroom   until the tightest limit on RSS",
    ];
    let area = frame.area();
    let (width, height) = (62.min(area.width), 12.min(area.height));
    let place = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    frame.render_widget(Clear, place);
    let text: Vec<Line<'_>> = lines.iter().map(|l| Line::from(*l)).collect();
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" keys ")), place);
}
