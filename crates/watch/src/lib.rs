//! The daemon: collects from a fleet, keeps history, exports metrics, alerts, serves a page, and acts where it may.
//!
//! Start with [`fleet::Fleet`] (what is watched) and `collect` (one task a server). What happens to a reading is in pure
//! modules: [`alert`], [`event`], [`trend`], [`schedule`], [`policy`]; what is kept is in [`history`]; what is shown is in
//! [`metrics`] and [`web`]. [`daemon::run`] puts it together.
//!
//! It judges no memory figures (that is `unfrag-diagnose`) and changes no server (that is `unfrag-act`).

pub mod alert;
mod clock;
mod collect;
pub mod config;
pub mod daemon;
pub mod event;
pub mod fleet;
pub mod follow;
pub mod history;
mod http;
pub mod job;
pub mod line;
pub mod log;
pub mod metrics;
pub mod node;
pub mod notify;
mod pack;
pub mod point;
pub mod policy;
pub mod publish;
pub mod remote;
pub mod replay;
pub mod schedule;
pub mod top;
pub mod trend;
pub mod web;
