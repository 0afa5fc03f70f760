//! Exactly the rights that are printed: a restart as this user on real servers, and nothing denied.

use crate::load::Load;
use crate::site::Site;
use redis::Commands;
use unfrag_act::restart::{Mode, RestartStatus, Wish, rules};
use unfrag_client::acl::Reading;
use unfrag_client::{ConnectOptions, Target};
use unfrag_testbed::{Kind, require};

#[test]
fn the_rights_that_are_printed_are_enough() {
    let kinds = [Kind::Redis6, Kind::Redis7, Kind::Redis8, Kind::Valkey9];
    for kind in kinds.into_iter().filter(|&k| require(k)) {
        for (mode, supervised) in [(Mode::Plain, false), (Mode::Swap, false), (Mode::Swap, true)] {
            if mode == Mode::Swap && !kind.is_7_or_later() {
                continue;
            }
            let own = rules(mode).0;
            let words = [&Reading::Server.rules()[..], &own[..]].concat().join(" ");
            let site = Site::start(kind, &format!("user worker on >pw {words}"));
            site.fill(500);
            let load = Load::start(site.port, None);
            let options = ConnectOptions {
                user: Some("worker".to_owned()),
                password: Some("pw".into()),
                ..site.options()
            };
            let wish = Wish { mode: Some(mode), supervised, ..site.wish() };
            let target = Target::Server(site.address());
            let outcome =
                crate::site::restart(&target, &options, &site.journals(), &wish, &mut |_| {});
            assert_eq!(
                outcome.status,
                RestartStatus::Done,
                "{} {mode:?} {supervised} {outcome:?}",
                kind.name()
            );
            assert!(outcome.verified.sampled > 50, "{outcome:?}");
            load.wait_for(100);
            let mut connection = site.connection();
            assert_eq!(load.end(|key| connection.get(key).unwrap()).lost, 0);
            let denied: Vec<redis::Value> =
                redis::cmd("ACL").arg("LOG").query(&mut connection).unwrap();
            assert!(denied.is_empty(), "{} {mode:?} {supervised} {denied:?}", kind.name());
        }
    }
}
