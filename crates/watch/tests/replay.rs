//! Over recorded histories of real servers: nobody is woken for nothing, and nothing that the ratio sees is missed.

#![expect(clippy::unwrap_used, reason = "tests")]

mod recording;

use unfrag_watch::alert::Patience;
use unfrag_watch::replay::replay;

#[test]
fn no_false_alarm_and_nothing_missed_that_the_ratio_sees() {
    let histories = recording::recordings();
    assert!(histories.len() >= 8);
    let (mut ratio_was_wrong, mut ratio_was_blind) = (0, 0);
    for history in histories {
        let looks = history.looks.iter().map(|(at, sample)| (*at, sample));
        let alarms = replay(looks, &Patience::default());
        assert!(history.looks.len() > 200, "{}", history.name);
        assert_eq!(!alarms.ours.is_empty(), history.is_real, "{}: {:?}", history.name, alarms.ours);
        ratio_was_wrong += u32::from(alarms.ratio.is_some() && !history.is_real);
        ratio_was_blind += u32::from(alarms.ratio.is_none() && history.is_real);
    }
    // The comparison means something only where the ratio has its say.
    assert!(ratio_was_wrong >= 2 && ratio_was_blind >= 1);
}

#[test]
fn real_incidents_where_they_are_at_hand() {
    let histories = recording::cases("../../../shared/cases");
    for history in histories {
        let looks = history.looks.iter().map(|(at, sample)| (*at, sample));
        let alarms = replay(looks, &Patience::default());
        assert!(history.is_real || alarms.ours.is_empty(), "{}: {:?}", history.name, alarms.ours);
        let missed = history.is_real && alarms.ratio.is_some() && alarms.ours.is_empty();
        assert!(!missed, "{}: only the ratio saw it", history.name);
    }
}
