//! The only crate of unfrag that talks to servers.
//!
//! A [`Target`] names one, [`ConnectOptions`] say as whom and how patiently, [`connect()`] makes a [`Connection`], and
//! [`sample()`] reads everything the rules need into an [`unfrag_model::Sample`]. A server that cannot be read is a
//! [`ClientError`]; a reading that cannot be had is an entry in [`unfrag_model::Sample::unread`], and the sample goes on.
//!
//! It judges nothing: what the figures mean is for `unfrag-diagnose`.

pub mod acl;
pub mod capability;
pub mod connect;
pub mod error;
pub mod files;
pub mod fleet;
mod host;
pub mod options;
pub mod replication;
pub mod resp;
pub mod sample;
pub mod scan;
mod secret;
pub mod secret_source;
pub mod source;
pub mod survey;
pub mod target;
mod tls;
pub mod topology;
mod wire;

pub use connect::{Connection, connect};
pub use error::{ClientError, ErrorKind, Problem, TlsProblem};
pub use options::ConnectOptions;
pub use sample::{SampleOptions, refresh, sample};
pub use secret::Secret;
pub use survey::{Reading, Survey, SurveyOptions, sample_all, survey};
pub use target::{Address, Target, TargetError, Uri};
pub use tls::TlsOptions;
pub use topology::{Deployment, DiscoverOptions, Node, Role, discover};
