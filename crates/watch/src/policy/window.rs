//! [`Window`]: a maintenance window, as cron has it: when it begins, in which time zone, and how long it lasts.
//!
//! A beginning that a change to summer time skips does not happen that day; one that happens twice opens the window twice.

use crate::config::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Deserialize;

/// `{ start = "0 2 * * 1-5", lasts = "2h", zone = "Europe/Berlin" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// Minute, hour, day of the month, month, day of the week (0 and 7 are Sunday, or `mon`…`sun`).
    pub start: String,
    /// At most a day.
    pub lasts: Time,
    /// An IANA name; this machine's without one.
    #[serde(default)]
    pub zone: Option<String>,
}

/// A window, ready to be asked.
#[derive(Debug, Clone)]
pub struct Window {
    /// Allowed minutes, hours, days, months, days of the week, as bits.
    fields: [u64; 5],
    /// Cron: when both days are restricted, either will do.
    either_day: bool,
    minutes: i64,
    zone: TimeZone,
}

const NAMES: [&str; 5] = ["minute", "hour", "day of the month", "month", "day of the week"];
const RANGES: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MAX_MINUTES: i64 = 24 * 60;

impl Window {
    /// Checks a configuration.
    pub fn new(config: &WindowConfig) -> Result<Self, String> {
        let words: Vec<&str> = config.start.split_whitespace().collect();
        if words.len() != NAMES.len() {
            return Err(format!(
                "window: `{}` needs five fields: minute hour day month weekday",
                config.start
            ));
        }
        let mut fields = [0u64; 5];
        for (n, (slot, word)) in fields.iter_mut().zip(&words).enumerate() {
            *slot = field(n, word).map_err(|why| format!("window: `{}`: {why}", config.start))?;
        }
        let [_, _, _, _, weekdays] = &mut fields;
        // 7 is Sunday as well.
        *weekdays = (*weekdays | (*weekdays >> 7)) & 0x7f;
        let minutes = config.lasts.seconds() / 60;
        if !(1..=MAX_MINUTES).contains(&minutes) {
            return Err("window: it lasts 1m to 24h".to_owned());
        }
        let zone = match &config.zone {
            None => TimeZone::system(),
            Some(name) => TimeZone::get(name)
                .map_err(|_| format!("window: no time zone `{name}` is known"))?,
        };
        let restricted = |n: usize| words.get(n).is_some_and(|w| !w.starts_with('*'));
        Ok(Self { fields, either_day: restricted(2) && restricted(4), minutes, zone })
    }

    /// When the window that is open at `now_s` closes, in seconds since 1970; `None` when none is.
    pub fn open_until(&self, now_s: i64) -> Option<i64> {
        let minute_s = now_s - now_s.rem_euclid(60);
        // The latest beginning counts: it closes last.
        (0..self.minutes).map(|n| minute_s - n * 60).find_map(|start_s| {
            let at = Timestamp::from_second(start_s).ok()?.to_zoned(self.zone.clone());
            self.begins(&at).then_some(start_s + self.minutes * 60)
        })
    }

    fn begins(&self, at: &Zoned) -> bool {
        let [minutes, hours, days, months, weekdays] = self.fields;
        let has = |bits: u64, n: i8| u32::try_from(n).is_ok_and(|n| bits >> n & 1 == 1);
        let day = has(days, at.day());
        let weekday = has(weekdays, at.weekday().to_sunday_zero_offset());
        let day = if self.either_day { day || weekday } else { day && weekday };
        has(minutes, at.minute()) && has(hours, at.hour()) && has(months, at.month()) && day
    }
}

/// `*`, `5`, `1-5`, `*/15`, `10-40/5`, lists of them with commas.
fn field(n: usize, text: &str) -> Result<u64, String> {
    let (low, high) = RANGES.get(n).copied().unwrap_or((0, 59));
    let name = NAMES.get(n).copied().unwrap_or_default();
    let wrong = || format!("`{text}` is no {name} ({low}-{high})");
    let number = |word: &str| -> Option<u32> {
        let lower = word.to_ascii_lowercase();
        let named = match n {
            3 => MONTHS.iter().position(|m| *m == lower).map(|p| p + 1),
            4 => DAYS.iter().position(|d| *d == lower),
            _ => None,
        };
        let value = named.and_then(|p| u32::try_from(p).ok()).or_else(|| word.parse().ok())?;
        (low..=high).contains(&value).then_some(value)
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: usize = step.parse().ok().filter(|s| *s > 0).ok_or_else(wrong)?;
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((from, to)) => (number(from).ok_or_else(wrong)?, number(to).ok_or_else(wrong)?),
            None => {
                let one = number(range).ok_or_else(wrong)?;
                (one, if part.contains('/') { high } else { one })
            }
        };
        if from > to {
            return Err(wrong());
        }
        for value in (from..=to).step_by(step) {
            bits |= 1 << value;
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: &str, lasts: &str, zone: &str) -> Window {
        let lasts = Time::try_from(lasts.to_owned()).unwrap();
        Window::new(&WindowConfig { start: start.into(), lasts, zone: Some(zone.into()) }).unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn weeknights_in_berlin_follow_the_clock_on_the_wall() {
        let nights = window("0 2 * * 1-5", "2h", "Europe/Berlin");
        // Winter: 02:00 there is 01:00 UTC. 2026-11-24 is a Tuesday.
        assert_eq!(nights.open_until(at("2026-11-24T01:00:00Z")), Some(at("2026-11-24T03:00:00Z")));
        assert_eq!(nights.open_until(at("2026-11-24T02:59:59Z")), Some(at("2026-11-24T03:00:00Z")));
        assert_eq!(nights.open_until(at("2026-11-24T03:00:00Z")), None);
        assert_eq!(nights.open_until(at("2026-11-24T00:59:59Z")), None);
        // Summer: 00:00 UTC.
        assert!(nights.open_until(at("2026-07-07T00:30:00Z")).is_some());
        // Saturday.
        assert_eq!(nights.open_until(at("2026-11-28T01:30:00Z")), None);
        // The night the clocks go forward has no 02:00 there; it is a Sunday, so take one with Sundays.
        let daily = window("0 2 * * *", "30m", "Europe/Berlin");
        assert_eq!(daily.open_until(at("2026-03-29T01:10:00Z")), None);
    }

    #[test]
    fn it_may_cross_midnight_and_days_may_be_either() {
        let late = window("30 23 * * *", "2h", "UTC");
        assert!(late.open_until(at("2026-11-24T00:45:00Z")).is_some());
        let either = window("0 0 13 * fri", "24h", "UTC");
        assert!(either.open_until(at("2026-11-27T12:00:00Z")).is_some(), "a Friday");
        assert!(either.open_until(at("2026-12-13T12:00:00Z")).is_some(), "a thirteenth");
        assert!(either.open_until(at("2026-12-14T12:00:00Z")).is_none());
        assert!(
            window("*/20 * * * 7", "1m", "UTC").open_until(at("2026-11-29T05:40:10Z")).is_some()
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let lasts = Time::try_from("2h".to_owned()).unwrap();
        for start in [
            "",
            "0 2 * *",
            "60 2 * * *",
            "0 24 * * *",
            "0 2 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
        ] {
            let config = WindowConfig { start: start.into(), lasts, zone: None };
            assert!(Window::new(&config).is_err(), "{start}");
        }
        let config =
            WindowConfig { start: "0 2 * * *".into(), lasts, zone: Some("Mars/Olympus".into()) };
        assert_eq!(
            Window::new(&config).unwrap_err(),
            "window: no time zone `Mars/Olympus` is known"
        );
    }
}
