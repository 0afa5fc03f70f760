//! One module a command.

pub(crate) mod acl;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod explain;
pub(crate) mod fix;
pub(crate) mod keys;
pub(crate) mod lab;
pub(crate) mod man;
pub(crate) mod rdb;
pub(crate) mod reshape;
pub(crate) mod restart;
pub(crate) mod top;
pub(crate) mod undo;
pub(crate) mod watch;
