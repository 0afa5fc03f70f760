//! Reshape: the same data in a layout that needs less memory, applied while the server serves, and back.
//!
//! Two changes: keys become fields of hashes (`hash`), values are compressed (`compress`). [`preview()`] is the dry run and
//! changes nothing; [`apply()`] does what it showed and needs a [`ChangePermit`](crate::ChangePermit). Each hash, each
//! value is moved by one atomic script that takes what is there at that moment, so that no acknowledged write is lost;
//! nothing that is there is ever overwritten. What had the new form before is kept in a record, so that the way back gives
//! the old layout exactly.
//!
//! It does not know when the application has been changed: that a key written after its merge stands beside its hash is
//! said, and left to a second pass.

pub mod codec;
mod compress;
pub mod guard;
mod hash;
pub mod layout;
mod members;
pub mod outcome;
mod pace;
mod preview;
mod record;
pub mod rights;
pub mod run;
mod sampling;
mod size;
mod skips;
pub mod snippet;
pub mod spec;
pub mod template;
mod walk;
mod worker;

pub use codec::Codec;
pub use layout::{Layout, Wording};
pub use outcome::{Outcome, Preview};
pub use preview::preview;
pub(crate) use run::revert;
pub use run::{Bounds, Event, Run, apply};
pub use spec::{Shape, Spec};
pub use template::TemplateError;
