//! `unfrag top`: the fleet, live, in a terminal. The same looks as the daemon's, without history and without a page.
//!
//! `top/draw.rs` draws; here are the keys and the loop.

mod draw;

use crate::alert::Change;
use crate::fleet::{Fleet, Settings};
use crate::follow::{self, Seed};
use crate::node::Node;
use crate::point::{headroom, waste};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::sync::Arc;
use std::time::Duration;
use unfrag_model::Verdict;

/// Between two drawings when nothing is typed.
const FRAME: Duration = Duration::from_millis(500);

/// In which order servers are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Verdict,
    Waste,
    Headroom,
    Rss,
    Name,
}

impl Order {
    const ALL: [Self; 5] = [Self::Verdict, Self::Waste, Self::Headroom, Self::Rss, Self::Name];

    const fn name(self) -> &'static str {
        match self {
            Self::Verdict => "worst first",
            Self::Waste => "most waste",
            Self::Headroom => "least headroom",
            Self::Rss => "largest",
            Self::Name => "by name",
        }
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|o| *o == self).unwrap_or(0);
        Self::ALL.get(at + 1).copied().unwrap_or(Self::Verdict)
    }
}

/// Which servers are listed.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Those whose name, target or shard has this in it.
    pub(crate) text: String,
    /// What is typed goes to it.
    pub(crate) typing: bool,
}

/// What is on the screen.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) order: Order,
    pub(crate) selected: usize,
    /// The server that was moved to: it stays selected wherever it goes in the list.
    held: Option<String>,
    /// Only the selected server, with all its findings.
    pub(crate) zoomed: bool,
    pub(crate) filter: Filter,
    /// Servers, before the filter.
    pub(crate) all: usize,
    pub(crate) scroll: u16,
    pub(crate) help: bool,
    pub(crate) color: bool,
}

/// Watches until `q`.
pub fn run(seeds: Vec<Seed>, settings: Settings, color: bool) -> std::io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (notices, mut inbox) = tokio::sync::mpsc::unbounded_channel();
    let fleet = Fleet::new(settings, None, notices);
    let inside = runtime.enter();
    for seed in seeds {
        tokio::spawn(follow::run(seed, Arc::clone(&fleet)));
    }
    drop(inside);
    let mut terminal = ratatui::try_init()?;
    let mut screen = Screen {
        selected: 0,
        held: None,
        zoomed: false,
        filter: Filter::default(),
        all: 0,
        scroll: 0,
        help: false,
        color,
        order: Order::Verdict,
    };
    let result = interact(&mut terminal, &fleet, &mut screen, || {
        // The list shows what alerts say; the terminal's bell is for what is new and urgent.
        let mut ring = false;
        while let Ok(notice) = inbox.try_recv() {
            ring |= matches!(&notice.change, Change::Fired(a) if a.severity == unfrag_model::Severity::Urgent);
        }
        ring
    });
    ratatui::restore();
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

fn interact(
    terminal: &mut DefaultTerminal,
    fleet: &Fleet,
    screen: &mut Screen,
    mut is_urgent: impl FnMut() -> bool,
) -> std::io::Result<()> {
    loop {
        let mut nodes = listed(fleet, screen.order);
        screen.all = nodes.len();
        nodes.retain(|node| is_wanted(node, &screen.filter.text));
        let held = screen.held.as_ref().and_then(|h| nodes.iter().position(|n| n.name == *h));
        screen.selected = held.unwrap_or(screen.selected).min(nodes.len().saturating_sub(1));
        if is_urgent() {
            ratatui::crossterm::execute!(
                std::io::stdout(),
                ratatui::crossterm::style::Print('\x07')
            )?;
        }
        terminal.draw(|frame| draw::screen(frame, &nodes, screen))?;
        if event::poll(FRAME)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let interrupted =
                key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            let (before, list) = (screen.selected, (screen.order, screen.filter.text.clone()));
            if interrupted || !handle(key.code, screen) {
                return Ok(());
            }
            // In another list the first is the one to see.
            if screen.selected != before && (screen.order, &screen.filter.text) == (list.0, &list.1)
            {
                let last = nodes.len().saturating_sub(1);
                screen.held = nodes.get(screen.selected.min(last)).map(|n| n.name.clone());
            }
        }
    }
}

/// False when it is time to go.
fn handle(key: KeyCode, screen: &mut Screen) -> bool {
    if std::mem::take(&mut screen.help) {
        return true;
    }
    if screen.filter.typing {
        typed(key, screen);
        return true;
    }
    match key {
        KeyCode::Char('q') => return false,
        KeyCode::Char('/') => (screen.filter.typing, screen.zoomed) = (true, false),
        KeyCode::Esc if !screen.zoomed && !screen.filter.text.is_empty() => {
            search(screen, String::new());
        }
        KeyCode::Esc if !screen.zoomed => return false,
        KeyCode::Esc | KeyCode::Enter => {
            screen.zoomed = !screen.zoomed;
            screen.scroll = 0;
        }
        KeyCode::Down | KeyCode::Char('j') if screen.zoomed => screen.scroll += 1,
        KeyCode::Up | KeyCode::Char('k') if screen.zoomed => {
            screen.scroll = screen.scroll.saturating_sub(1);
        }
        KeyCode::Down | KeyCode::Char('j') => screen.selected += 1,
        KeyCode::Up | KeyCode::Char('k') => screen.selected = screen.selected.saturating_sub(1),
        KeyCode::PageDown => screen.selected += 10,
        KeyCode::PageUp => screen.selected = screen.selected.saturating_sub(10),
        KeyCode::Home | KeyCode::Char('g') => screen.selected = 0,
        KeyCode::End | KeyCode::Char('G') => screen.selected = usize::MAX,
        KeyCode::Char('s') => {
            screen.order = screen.order.next();
            // Another order is asked for to see who is first in it.
            (screen.selected, screen.held) = (0, None);
        }
        KeyCode::Char('?' | 'h') => screen.help = true,
        _ => {}
    }
    true
}

/// Longest filter: it has to stand in a line of 80.
const MAX_FILTER: usize = 30;

/// A key while the filter is typed.
fn typed(key: KeyCode, screen: &mut Screen) {
    let mut filter = screen.filter.text.clone();
    match key {
        KeyCode::Enter => screen.filter.typing = false,
        KeyCode::Esc => {
            screen.filter.typing = false;
            search(screen, String::new());
        }
        KeyCode::Backspace => {
            filter.pop();
            search(screen, filter);
        }
        KeyCode::Char(c) if !c.is_control() && filter.chars().count() < MAX_FILTER => {
            filter.push(c);
            search(screen, filter);
        }
        _ => {}
    }
}

fn search(screen: &mut Screen, filter: String) {
    (screen.filter.text, screen.selected, screen.held) = (filter, 0, None);
}

fn is_wanted(node: &Node, filter: &str) -> bool {
    let filter = filter.to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&filter);
    filter.is_empty() || has(&node.name) || has(&node.group) || has(&node.shard())
}

fn listed(fleet: &Fleet, order: Order) -> Vec<Arc<Node>> {
    let mut nodes = fleet.nodes();
    nodes.sort_by_cached_key(|node| {
        let state = node.state();
        let report = state.view.as_ref().map(|v| &v.report);
        let rank = match (&state.failure, report.map(|r| r.verdict)) {
            (Some(_), _) => 0i64,
            (None, Some(Verdict::Urgent)) => 1,
            (None, Some(Verdict::Act)) => 2,
            (None, Some(Verdict::Watch)) => 3,
            _ => 4,
        };
        let wasted = -report.and_then(waste).map_or(-1, u64::cast_signed);
        let key = match order {
            Order::Verdict => (rank, wasted),
            Order::Waste => (wasted, 0),
            Order::Headroom => (report.and_then(headroom).unwrap_or(i64::MAX), 0),
            Order::Rss => (-report.and_then(|r| r.layers.rss).map_or(-1, u64::cast_signed), 0),
            Order::Name => (0, 0),
        };
        (key, node.name.clone())
    });
    nodes
}
